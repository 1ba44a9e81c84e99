"""Draws heat maps for a run's test frames or for any pictures and writes them to a folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich import get_console
from rich.progress import track

from fervid import figures
from fervid.data.face_cache import FaceCache
from fervid.errors import InputError, first_line
from fervid.explain.heat_maps import heat_maps
from fervid.figures import overlay, save
from fervid.figures.heat_maps import MeanHeatMaps
from fervid.predict.inputs import find_sources
from fervid.predict.predictor import BATCH_SIZE, Predictor
from fervid.runs.load import reopen_corpus
from fervid.runs.run import open_run
from fervid.runs.trust import Trust
from fervid.schema.columns import CLIP_KEY, keys
from fervid.schema.predictions import probabilities, probability_columns
from fervid.storage.atomic import filling

log = logging.getLogger(__name__)

FOLDER = "explanation"  # in a run folder
MAX_AVERAGED_FRAMES = 200  # per emotion, for its mean heat map
MIN_CORRECT_FRAMES = 5  # per emotion; with fewer, all frames of the emotion are averaged
MAX_FRAMES_PER_CONFUSION = 3  # such as fear predicted as surprise


def explain_run(
    predictor: Predictor,
    *,
    frames: str | Sequence[int],
    max_faces: int,
    seed: int,
    cache_dir: str | Path,
    root: str | Path | None = None,
    trust: Trust = (),
) -> list[Path]:
    """Explains a run's test predictions: heat maps of selected frames, and the mean heat map of each emotion.

    Args:
        predictor: the run's predictor.
        frames: which frames to show, see :func:`choose_frames`.
        max_faces: maximum number of frames to show.
        seed: seed for the random choice of frames.
        cache_dir: folder of the cached faces.
        root: path of the corpus, if it was moved; None: the path recorded in the run.
        trust: packages whose classes the run may use.

    Returns:
        Paths of the files written to ``explanation`` in the run folder.

    Raises:
        InputError: if the run's corpus or faces are missing, or a frame does not exist.
    """
    predictions = open_run(predictor.folder).predictions
    chosen = choose_frames(predictions, frames, max_faces, seed)
    averaged = frames_to_average(predictions, seed)
    datamodule = reopen_corpus(predictor.folder, predictor.results, cache_dir, root, trust=trust)
    face_cache = datamodule.face_cache
    rows = datamodule.samples.reindex(predictions["index"])
    if (rows[[*CLIP_KEY, "emotion"]].to_numpy() != predictions[[*CLIP_KEY, "label"]].to_numpy()).any():
        raise InputError(
            f"{predictor.folder}/predictions.csv does not match its manifest.parquet: train the run again."
        )
    cache_row = rows["cache_row"].set_axis(predictions.index)

    name = frames if isinstance(frames, str) else "chosen"
    faces = face_cache[cache_row[chosen.index].to_numpy()]
    drawn = {name: draw_frames(predictor, faces, chosen)}
    means = mean_heat_maps(predictor, face_cache, cache_row[averaged.index].to_numpy(), averaged)
    drawn["mean_heat_maps"] = means.draw(
        "Mean Grad-CAM of each emotion over its test frames (right: only frames predicted correctly)"
    )
    written = _write(predictor.folder / FOLDER, drawn, means)
    if (predictor.folder / "tensorboard").is_dir():
        _show_on_tensorboard(predictor, drawn)
    return written


def explain_pictures(predictor: Predictor, sources: Sequence[str], *, max_faces: int, folder: Path) -> list[Path]:
    """Explains a run's predictions for pictures.

    Args:
        predictor: the run's predictor.
        sources: pictures, folders or globs; videos among them are skipped.
        max_faces: maximum number of faces to show.
        folder: the output folder.

    Returns:
        Paths of the written files.

    Raises:
        InputError: if there are no pictures, or none of them shows a face.
    """
    items = find_sources(sources).items
    pictures = [item for item in items if not item.is_video]
    if not pictures:
        raise InputError(f"source={', '.join(sources)} contains no picture: give a picture, a folder or a glob.")
    if len(items) > len(pictures):
        log.warning("Skipping %d videos: only pictures can be explained.", len(items) - len(pictures))
    shown: list[tuple[list[np.ndarray], list[str], str]] = []
    hidden = not get_console().is_terminal
    for item in track(pictures, "explaining pictures", transient=True, disable=hidden):
        if len(shown) > max_faces:
            break
        try:
            predicted = predictor.picture(item.source)  # type: ignore[arg-type]  # not a camera
        except (OSError, ValueError) as error:
            log.warning("Skipping %s: %s.", item.name, first_line(error))
            continue
        if not predicted:
            log.warning("Skipping %s: no face found.", item.name)
            continue
        name, faces = Path(item.name).name, np.stack([face.picture for face in predicted])
        emotions = [predictor.class_names.index(face.emotion) for face in predicted]
        heats = heat_maps(predictor.model, faces, emotions)
        for number, (face, heat) in enumerate(zip(predicted, heats, strict=True), start=1):
            heading = name if len(predicted) == 1 else f"{name}, face {number}"
            views = [face.picture, overlay(face.picture, heat)]
            shown.append((views, ["", f"{face.emotion} {face.confidence:.0%}"], heading))
    if not shown:
        raise InputError(f"no face found in the {len(pictures)} pictures: try detector=none, or other pictures.")
    if len(shown) > max_faces:
        log.warning("Showing only the first %d faces: increase max_faces to show more.", max_faces)
    views, captions, headings = zip(*shown[:max_faces], strict=True)
    return _write(folder, {"faces": figures.explained_faces(views, captions, headings)})


def choose_frames(predictions: pd.DataFrame, frames: str | Sequence[int], max_faces: int, seed: int) -> pd.DataFrame:
    """Selects test frames.

    Args:
        predictions: one row per test frame.
        frames: ``confused``: the wrong predictions with the highest confidence, at most one per clip and three per
            pair of label and prediction; ``right``: the correct predictions with the highest confidence, at most one
            per clip, equally many of each emotion; ``random``; or a list of values of the column ``index``.
        max_faces: maximum number of frames.
        seed: random seed for ``random``.

    Raises:
        InputError: if no frame matches.
    """
    if not isinstance(frames, str):
        by_index = predictions.reset_index().set_index("index", drop=False)
        unknown = [number for number in frames if number not in by_index.index]
        if unknown or not frames:
            missing = f"{unknown[0]} is not a test frame" if unknown else "the list is empty"
            raise InputError(
                f"frames={list(frames)} cannot be used, since {missing}: give values of the column index in "
                "predictions.csv, or confused, right or random."
            )
        return predictions.loc[by_index.loc[list(dict.fromkeys(frames)), "level_0"]].head(max_faces)
    if frames == "random":
        return predictions.sample(min(max_faces, len(predictions)), random_state=seed)
    if frames not in ("confused", "right"):
        raise InputError(
            f"frames={frames} is unknown: choose confused, right, random or a list such as frames=[3,14] with values "
            "of the column index in predictions.csv."
        )
    correct = predictions["label"] == predictions["predicted"]
    found = predictions[correct if frames == "right" else ~correct]
    if found.empty:
        kind = "correctly" if frames == "right" else "incorrectly"
        raise InputError(f"no test frame is predicted {kind}: choose frames=random.")
    found = found.assign(confidence=_confidence(found)).sort_values("confidence", ascending=False, kind="stable")
    pairs = found[~keys(found, "clip").duplicated()].groupby(["label", "predicted"])
    per_pair = -(-max_faces // found["label"].nunique()) if frames == "right" else MAX_FRAMES_PER_CONFUSION
    return predictions.loc[pairs.head(per_pair).index[:max_faces]]


def frames_to_average(predictions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Selects the test frames for the mean heat map of each emotion.

    These are the correctly predicted frames, or all frames of the emotion if fewer than five are correct; at most 200
    per emotion, chosen at random.
    """
    parts = []
    for emotion, frames in predictions.groupby("label"):
        correct = frames[frames["predicted"] == emotion]
        selected = correct if len(correct) >= MIN_CORRECT_FRAMES else frames
        parts.append(selected.sample(min(len(selected), MAX_AVERAGED_FRAMES), random_state=seed))
    return pd.concat(parts)


def mean_heat_maps(
    predictor: Predictor, face_cache: FaceCache, cache_row: np.ndarray, frames: pd.DataFrame
) -> MeanHeatMaps:
    """Averages the faces of each emotion and their heat maps for that emotion.

    Args:
        predictor: the run's predictor.
        face_cache: the cached faces.
        cache_row: row of each of the N frames in the cache, shape (N,).
        frames: n rows of the run's predictions.
    """
    emotions = [name for name in predictor.class_names if name in set(frames["label"])]
    labels = pd.Index(frames["label"])
    row, classes = (pd.Index(names).get_indexer(labels) for names in (emotions, predictor.class_names))
    size = predictor.image_size
    faces, maps = np.zeros((len(emotions), size, size, 3)), np.zeros((len(emotions), size, size))
    hidden, starts = not get_console().is_terminal, range(0, len(frames), BATCH_SIZE)
    for start in track(starts, f"heat maps of {len(frames)} test faces", transient=True, disable=hidden):
        part = slice(start, start + BATCH_SIZE)
        pictures = face_cache[cache_row[part]]
        np.add.at(faces, row[part], pictures)
        np.add.at(maps, row[part], heat_maps(predictor.model, pictures, classes[part]))
    counts = np.bincount(row)
    all_correct = (frames["label"] == frames["predicted"]).groupby(row).all().to_numpy()
    return MeanHeatMaps(
        np.array(emotions),
        np.rint(faces / counts[:, None, None, None]).astype(np.uint8),
        (maps / counts[:, None, None]).astype(np.float32),
        counts,
        all_correct,
    )


def draw_frames(predictor: Predictor, faces: np.ndarray, frames: pd.DataFrame) -> Figure:
    """Draws each face with the heat map of the predicted emotion and, if that is wrong, also of its label.

    Args:
        predictor: the run's predictor.
        faces: uint8 (N, S, S, 3) RGB.
        frames: n rows of the run's predictions.
    """
    names = pd.Index(predictor.class_names)
    predicted_maps, label_maps = (
        heat_maps(predictor.model, faces, names.get_indexer(pd.Index(frames[column])))
        for column in ("predicted", "label")
    )
    views, captions, headings = [], [], []
    for number, (_, frame) in enumerate(frames.iterrows()):
        face, label, predicted = faces[number], frame["label"], frame["predicted"]
        views.append([face, overlay(face, predicted_maps[number])])
        captions.append([f"index {frame['index']}", _caption(predicted, frame, predicted_maps[number])])
        headings.append(f"{label}, correct" if predicted == label else f"{label}, predicted as {predicted}")
        if predicted != label:
            views[-1].append(overlay(face, label_maps[number]))
            captions[-1].append(_caption(label, frame, label_maps[number]))
    return figures.explained_faces(views, captions, headings)


def _caption(emotion: str, frame: pd.Series, heat: np.ndarray) -> str:
    (column,) = probability_columns([emotion])
    return f"{emotion} {frame[column]:.0%}" + ("" if heat.any() else "\nno supporting region")


def _confidence(frames: pd.DataFrame) -> pd.Series:
    names = pd.Index(frames["predicted"].unique())
    matrix = probabilities(frames, names.tolist())
    confidence = matrix[np.arange(len(frames)), names.get_indexer(pd.Index(frames["predicted"]))]
    return pd.Series(confidence, index=frames.index)


def _write(folder: Path, drawn: dict[str, Figure], means: MeanHeatMaps | None = None) -> list[Path]:
    """Writes all files to a temporary folder first, so that the output folder is complete or unchanged."""
    try:
        with filling(folder) as new:
            for name, figure in drawn.items():
                save(figure, new / f"{name}.png", dpi=130)
            if means is not None:
                means.save(new / "heat_maps.npz")
            files = sorted(folder / file.name for file in new.iterdir())
        return files
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}): free disk space or check its permissions."
        ) from error


def _show_on_tensorboard(predictor: Predictor, drawn: dict[str, Figure]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    # Next to the run's own events; for a job of a sweep, these are in a subfolder named after its settings.
    events = next((predictor.folder / "tensorboard").rglob("events.out*"), predictor.folder / "tensorboard" / "events")
    with SummaryWriter(str(events.parent)) as writer:
        for name, figure in drawn.items():
            writer.add_figure(f"figures/{name}", figure, global_step=predictor.results["epochs"])
