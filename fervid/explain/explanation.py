"""What the faces of a run's test, or any pictures, look like to its network; drawn and kept in a folder."""

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
MOST_FRAMES = 200  # of an emotion, for its mean heat map
FEWEST_RIGHT = 5  # of an emotion, or all its frames are averaged
MOST_ALIKE = 3  # frames of one confusion, such as fear taken for surprise


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
    """Explains what a run said of its test: some frames, and the mean of each emotion.

    Args:
        predictor: of the run.
        frames: see :func:`choose_frames`.
        max_faces: of frames, at most.
        seed: of those that are drawn.
        cache_dir: where runs keep their faces.
        root: where the corpus lies now; None: where it lay.
        trust: packages whose classes the run may use.

    Returns:
        The files that were written into ``explanation`` in the run folder.

    Raises:
        InputError: if the run's faces are not there any more, or there is no such frame.
    """
    predictions = open_run(predictor.folder).predictions
    chosen = choose_frames(predictions, frames, max_faces, seed)
    averaged = frames_to_average(predictions, seed)
    datamodule = reopen_corpus(predictor.folder, predictor.results, cache_dir, root, trust=trust)
    face_cache = FaceCache(datamodule.face_cache_path)
    rows = datamodule.samples.reindex(predictions["index"])
    if (rows[[*CLIP_KEY, "emotion"]].to_numpy() != predictions[[*CLIP_KEY, "label"]].to_numpy()).any():
        raise InputError(f"{predictor.folder}/predictions.csv does not fit its manifest.parquet: train again.")
    cache_row = rows["cache_row"].set_axis(predictions.index)

    name = frames if isinstance(frames, str) else "chosen"
    faces = face_cache[cache_row[chosen.index].to_numpy()]
    drawn = {name: draw_frames(predictor, faces, chosen)}
    means = mean_heat_maps(predictor, face_cache, cache_row[averaged.index].to_numpy(), averaged)
    drawn["mean_heat_maps"] = means.draw(
        "Mean Grad-CAM of each emotion over its test frames (right: those that are right)"
    )
    written = _write(predictor.folder / FOLDER, drawn, means)
    if (predictor.folder / "tensorboard").is_dir():
        _show_on_tensorboard(predictor, drawn)
    return written


def explain_pictures(predictor: Predictor, sources: Sequence[str], *, max_faces: int, folder: Path) -> list[Path]:
    """Explains what a run says of pictures.

    Args:
        predictor: of the run.
        sources: pictures, folders or globs; videos among them are left out.
        max_faces: of faces, at most.
        folder: where to.

    Returns:
        The files that were written.

    Raises:
        InputError: if there are no pictures, or no face in any.
    """
    items = find_sources(sources).items
    pictures = [item for item in items if not item.is_video]
    if not pictures:
        raise InputError(f"source={', '.join(sources)} names no picture: give a picture, a folder or a glob of some.")
    if len(items) > len(pictures):
        log.warning("%d videos are left out: only pictures are explained.", len(items) - len(pictures))
    shown: list[tuple[list[np.ndarray], list[str], str]] = []
    hidden = not get_console().is_terminal
    for item in track(pictures, "looking at pictures", transient=True, disable=hidden):
        if len(shown) > max_faces:
            break
        try:
            seen = predictor.picture(item.source)  # type: ignore[arg-type]  # no camera
        except (OSError, ValueError) as error:
            log.warning("%s is left out: %s.", item.name, first_line(error))
            continue
        if not seen:
            log.warning("%s is left out: no face was found in it.", item.name)
            continue
        name, faces = Path(item.name).name, np.stack([face.picture for face in seen])
        for number, (face, heat) in enumerate(zip(seen, heat_maps(predictor.model, faces), strict=True), start=1):
            heading = name if len(seen) == 1 else f"{name}, face {number}"
            views = [face.picture, overlay(face.picture, heat)]
            shown.append((views, ["", f"{face.emotion} {face.confidence:.0%}"], heading))
    if not shown:
        raise InputError(f"no face was found in the {len(pictures)} pictures: try detector=none, or other pictures.")
    if len(shown) > max_faces:
        log.warning("the first %d faces are shown: max_faces=... shows more.", max_faces)
    views, captions, headings = zip(*shown[:max_faces], strict=True)
    return _write(folder, {"faces": figures.explained_faces(views, captions, headings)})


def choose_frames(predictions: pd.DataFrame, frames: str | Sequence[int], max_faces: int, seed: int) -> pd.DataFrame:
    """Picks test frames worth looking at.

    Args:
        predictions: one row a test frame.
        frames: ``confused``: wrong with most confidence, at most one of a clip and three of a kind of confusion;
            ``right``: right with most confidence, at most one of a clip, as many of each emotion; ``random``; or
            numbers of the column ``index``, in their order.
        max_faces: at most so many.
        seed: of ``random``.

    Raises:
        InputError: if there are none.
    """
    if not isinstance(frames, str):
        by_index = predictions.reset_index().set_index("index", drop=False)
        unknown = [number for number in frames if number not in by_index.index]
        if unknown or not frames:
            raise InputError(
                f"frames={list(frames)} names {f'{unknown[0]}, which is not' if unknown else 'nothing that is'} in the "
                "test: give numbers of the column index of predictions.csv, or confused, right or random."
            )
        return predictions.loc[by_index.loc[list(dict.fromkeys(frames)), "level_0"]].head(max_faces)
    if frames == "random":
        return predictions.sample(min(max_faces, len(predictions)), random_state=seed)
    if frames not in ("confused", "right"):
        raise InputError(
            f"frames={frames} is unknown: choose confused, right, random or a list such as frames=[3,14], numbers of "
            "the column index of predictions.csv."
        )
    right = predictions["label"] == predictions["predicted"]
    found = predictions[right if frames == "right" else ~right]
    if found.empty:
        raise InputError(f"no test frame is {'right' if frames == 'right' else 'wrong'}: choose frames=random.")
    found = found.assign(sure=_confidence(found)).sort_values("sure", ascending=False, kind="stable")
    kinds = found[~keys(found, "clip").duplicated()].groupby(["label", "predicted"])
    alike = -(-max_faces // found["label"].nunique()) if frames == "right" else MOST_ALIKE
    return predictions.loc[kinds.head(alike).index[:max_faces]]


def frames_to_average(predictions: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The test frames whose mean stands for their emotion.

    Those that the network is right about; all where they are fewer than five; at most 200 of an emotion, drawn.
    """
    parts = []
    for emotion, frames in predictions.groupby("label"):
        right = frames[frames["predicted"] == emotion]
        kept = right if len(right) >= FEWEST_RIGHT else frames
        parts.append(kept.sample(min(len(kept), MOST_FRAMES), random_state=seed))
    return pd.concat(parts)


def mean_heat_maps(
    predictor: Predictor, face_cache: FaceCache, cache_row: np.ndarray, frames: pd.DataFrame
) -> MeanHeatMaps:
    """Averages faces and the heat maps of what they show, by emotion.

    Args:
        predictor: of the run.
        face_cache: the faces.
        cache_row: row in it of each of the N frames, shape (N,).
        frames: one row each, with ``label`` and ``predicted``.
    """
    emotions = [name for name in predictor.class_names if name in set(frames["label"])]
    true = pd.Index(frames["label"])
    place, classes = (pd.Index(names).get_indexer(true) for names in (emotions, predictor.class_names))
    size = predictor.image_size
    faces, maps = np.zeros((len(emotions), size, size, 3)), np.zeros((len(emotions), size, size))
    hidden, starts = not get_console().is_terminal, range(0, len(frames), BATCH_SIZE)
    for start in track(starts, f"heat maps of {len(frames)} test faces", transient=True, disable=hidden):
        part = slice(start, start + BATCH_SIZE)
        pictures = face_cache[cache_row[part]]
        np.add.at(faces, place[part], pictures)
        np.add.at(maps, place[part], heat_maps(predictor.model, pictures, classes[part]))
    counts = np.bincount(place)
    right = (frames["label"] == frames["predicted"]).groupby(place).all().to_numpy()
    return MeanHeatMaps(
        np.array(emotions),
        np.rint(faces / counts[:, None, None, None]).astype(np.uint8),
        (maps / counts[:, None, None]).astype(np.float32),
        counts,
        right,
    )


def draw_frames(predictor: Predictor, faces: np.ndarray, frames: pd.DataFrame) -> Figure:
    """Each face, what speaks for the emotion that was predicted, and, where that is wrong, for the true one.

    Args:
        predictor: of the run.
        faces: uint8 (N, S, S, 3) RGB.
        frames: N rows of the run's predictions.
    """
    names = pd.Index(predictor.class_names)
    predicted, true = (
        heat_maps(predictor.model, faces, names.get_indexer(pd.Index(frames[column])))
        for column in ("predicted", "label")
    )
    views, captions, headings = [], [], []
    for number, (_, frame) in enumerate(frames.iterrows()):
        face, is_, said = faces[number], frame["label"], frame["predicted"]
        views.append([face, overlay(face, predicted[number])])
        captions.append([f"index {frame['index']}", _says(said, frame, predicted[number])])
        headings.append(f"{is_}, recognised" if said == is_ else f"{is_}, taken for {said}")
        if said != is_:
            views[-1].append(overlay(face, true[number]))
            captions[-1].append(_says(is_, frame, true[number]))
    return figures.explained_faces(views, captions, headings)


def _says(emotion: str, frame: pd.Series, heat: np.ndarray) -> str:
    (column,) = probability_columns([emotion])
    return f"{emotion} {frame[column]:.0%}" + ("" if heat.any() else "\nnothing speaks for it")


def _confidence(frames: pd.DataFrame) -> pd.Series:
    names = pd.Index(frames["predicted"].unique())
    chances = probabilities(frames, names.tolist())
    own = chances[np.arange(len(frames)), names.get_indexer(pd.Index(frames["predicted"]))]
    return pd.Series(own, index=frames.index)


def _write(folder: Path, drawn: dict[str, Figure], means: MeanHeatMaps | None = None) -> list[Path]:
    """Writes the files when all of them are drawn, each whole."""
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
            f"{folder} cannot be written ({error.strerror}): make room or give back its rights."
        ) from error


def _show_on_tensorboard(predictor: Predictor, drawn: dict[str, Figure]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    # Beside the run's own events, which a job of a sweep has in a folder of its settings.
    events = next((predictor.folder / "tensorboard").rglob("events.out*"), predictor.folder / "tensorboard" / "events")
    with SummaryWriter(str(events.parent)) as writer:
        for name, figure in drawn.items():
            writer.add_figure(f"figures/{name}", figure, global_step=predictor.results["epochs"])
