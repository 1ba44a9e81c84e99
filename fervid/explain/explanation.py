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
from fervid.explain.choosing import choose_samples, matching_samples, samples_to_average
from fervid.explain.heat_maps import heat_maps
from fervid.explain.output import FOLDER, show_on_tensorboard, write_explanation
from fervid.figures import overlay
from fervid.figures.heat_maps import MeanHeatMaps
from fervid.predict.inputs import find_sources
from fervid.predict.predictor import BATCH_SIZE, Predictor
from fervid.runs.load import reopen_corpus
from fervid.runs.run import open_run
from fervid.runs.trust import Trust
from fervid.schema.predictions import probability_columns

log = logging.getLogger(__name__)

MAX_AVERAGED_FRAMES = 200  # per emotion, for its mean heat map


def explain_run(
    predictor: Predictor,
    *,
    samples: str | Sequence[int],
    max_samples: int,
    seed: int,
    cache_dir: str | Path,
    root: str | Path | None = None,
    trust: Trust = (),
) -> list[Path]:
    """Explains a run's test predictions: heat maps of selected frames, and the mean heat map of each emotion.

    Args:
        predictor: the run's predictor.
        samples: which frames to show, see :func:`fervid.explain.choosing.choose_samples`.
        max_samples: maximum number of frames to show.
        seed: seed for the random choice of frames.
        cache_dir: folder of the cached faces.
        root: path of the corpus, if it was moved; None: the path recorded in the run.
        trust: packages whose classes the run may use.

    Returns:
        Paths of the files written to ``explanation`` in the run folder.

    Raises:
        InputError: if the run's corpus or faces are missing, or a frame does not exist.
    """
    run = open_run(predictor.folder)
    predictions = run.predictions
    chosen = choose_samples(predictions, samples, max_samples, seed)
    averaged = samples_to_average(predictions, MAX_AVERAGED_FRAMES, seed)
    datamodule = reopen_corpus(predictor.folder, predictor.results, cache_dir, root, trust=trust)
    face_cache = datamodule.face_cache
    cache_row = matching_samples(datamodule, predictions, predictor.folder)["cache_row"]

    name = samples if isinstance(samples, str) else "chosen"
    faces = face_cache[cache_row[chosen.index].to_numpy()]
    drawn = {name: draw_frames(predictor, faces, chosen)}
    means = mean_heat_maps(predictor, face_cache, cache_row[averaged.index].to_numpy(), averaged)
    drawn["mean_heat_maps"] = means.draw(
        "Mean Grad-CAM of each emotion over its test frames (right: only frames predicted correctly)"
    )
    written = write_explanation(predictor.folder / FOLDER, drawn, {"heat_maps.npz": means.save})
    show_on_tensorboard(run, drawn)
    return written


def explain_pictures(predictor: Predictor, sources: Sequence[str], *, max_samples: int, folder: Path) -> list[Path]:
    """Explains a run's predictions for pictures.

    Args:
        predictor: the run's predictor.
        sources: pictures, folders or globs; videos among them are skipped.
        max_samples: maximum number of faces to show.
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
        if len(shown) > max_samples:
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
    if len(shown) > max_samples:
        log.warning("Showing only the first %d faces: increase max_samples to show more.", max_samples)
    views, captions, headings = zip(*shown[:max_samples], strict=True)
    return write_explanation(folder, {"faces": figures.explained_faces(views, captions, headings)})


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
