"""Draws which moments of a run's test clips speak for its predictions, and writes them to the run folder."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich import get_console
from rich.progress import track

from fervid import figures
from fervid.data.datamodule import EmotionDataModule
from fervid.explain.choosing import choose_samples, matching_samples, samples_to_average
from fervid.explain.occlusion import ClipRelevance, clip_relevance
from fervid.explain.output import FOLDER, show_on_tensorboard, write_explanation
from fervid.figures.moments import ExplainedClip, MeanRelevance
from fervid.models.log_mel import RATE
from fervid.runs.device import find_device
from fervid.runs.load import load_classifier, read_run, reopen_corpus
from fervid.runs.trust import Trust
from fervid.schema.predictions import confidence
from fervid.storage.atomic import write_csv
from fervid.tasks.classification import EmotionClassifier

log = logging.getLogger(__name__)

MAX_AVERAGED_CLIPS = 10  # per emotion: each clip needs about as many forward passes as it has moments
MOMENTS = 40  # of relative time, to which clips of different length are brought before they are averaged

Inputs = Callable[[int], dict[str, np.ndarray]]  # row of the sample table -> input of each modality


def explain_clips(
    folder: Path,
    *,
    samples: str | Sequence[int],
    max_samples: int,
    window: float,
    seed: int,
    cache_dir: str | Path,
    root: str | Path | None = None,
    features_path: str | Path | None = None,
    device: str = "cpu",
    trust: Trust = (),
) -> list[Path]:
    """Explains the test predictions of a run of clips, sounds or feature tables.

    Args:
        folder: run folder.
        samples: which clips to show, see :func:`fervid.explain.choosing.choose_samples`.
        max_samples: maximum number of clips to show.
        window: see :func:`fervid.explain.occlusion.clip_relevance`.
        seed: seed for the random choice of clips.
        cache_dir: folder of the cached inputs.
        root: path of the corpus, if it was moved; None: the path recorded in the run.
        features_path: path of the run's feature table, if it was moved.
        device: device of the network.
        trust: packages whose classes the run may use.

    Returns:
        Paths of the files and folders written to ``explanation`` in the run folder.

    Raises:
        InputError: if the run's corpus or inputs are missing, or a clip does not exist.
    """
    run = read_run(folder)
    model = load_classifier(folder, trust=trust, of_pictures=False).to(find_device(device))
    predictions = run.predictions
    chosen = choose_samples(predictions, samples, max_samples, seed)
    averaged = samples_to_average(predictions, MAX_AVERAGED_CLIPS, seed)
    datamodule = reopen_corpus(run.folder, run.results, cache_dir, root, features_path=features_path, trust=trust)
    rows = matching_samples(datamodule, predictions, run.folder)
    inputs = _open_inputs(datamodule, rows)

    drawn: dict[str, Figure] = {}
    tables = []
    subfolder = samples if isinstance(samples, str) else "chosen"
    for place, clip in _tracked(chosen, "explaining clips"):
        names = list(dict.fromkeys([clip["predicted"], clip["label"]]))
        given = inputs(place)
        relevance = clip_relevance(model, given, [model.class_names.index(name) for name in names], window=window)
        frames = _frame_numbers(datamodule, rows.loc[[place]])
        shown = _explained(model, clip, given, relevance, frames, datamodule.feature_names)
        drawn[f"{subfolder}/index_{clip['index']}"] = figures.explained_clip(shown)
        tables.append(_table(clip, given, relevance, frames, datamodule.feature_names))
    means = _means(model, averaged, inputs, window, datamodule.feature_names)
    drawn["mean_relevance"] = figures.mean_relevance(means)
    table = pd.concat(tables, ignore_index=True)
    target = run.folder / FOLDER
    written = write_explanation(target, drawn, {"relevance.csv": lambda path: write_csv(path, table)})
    show_on_tensorboard(run, drawn)
    return written


def _tracked(table: pd.DataFrame, description: str):  # type: ignore[no-untyped-def]
    hidden = not get_console().is_terminal
    return track(table.iterrows(), description, total=len(table), transient=True, disable=hidden)


def _open_inputs(datamodule: EmotionDataModule, rows: pd.DataFrame) -> Inputs:
    """Returns a function from the index of a prediction to the inputs of its clip."""

    def read(place: int) -> dict[str, np.ndarray]:
        sample = rows.loc[[place]]
        found = {}
        for name, store in datamodule.stores.items():
            if name == "image":
                found[name] = store.view(datamodule.sample.frame_rows(datamodule.manifest, sample)[0])
            else:
                found[name] = store.view(sample["clip_row"].to_numpy())[0]
        return found

    return read


def _frame_numbers(datamodule: EmotionDataModule, sample: pd.DataFrame) -> list[int]:
    """Returns the numbers of the frames of a clip in its video; empty without pictures."""
    if not datamodule.sample.shows_pictures:
        return []
    chosen = datamodule.sample.frame_rows(datamodule.manifest, sample)[0]
    return datamodule.manifest.set_index("cache_row")["frame"].loc[chosen].astype(int).tolist()


def _explained(
    model: EmotionClassifier,
    clip: pd.Series,
    inputs: Mapping[str, np.ndarray],
    relevance: ClipRelevance,
    frames: Sequence[int],
    feature_names: Sequence[str],
) -> ExplainedClip:
    label, predicted = clip["label"], clip["predicted"]
    is_correct = label == predicted
    sure = float(confidence(clip.to_frame().T, model.class_names)[0])
    about = f"{label}, correct" if is_correct else f"{label} (dotted), predicted as {predicted}"
    columns = relevance.columns
    return ExplainedClip(
        heading=f"{about} ({sure:.0%}): {clip['clip']}, index {clip['index']}",
        emotions=model.class_names,
        label=label,
        predicted=predicted,
        answers=relevance.answers,
        moments={name: values[:, 0] for name, values in relevance.moments.items()},
        label_moments={} if is_correct else {name: values[:, 1] for name, values in relevance.moments.items()},
        contributions={name: float(values[0]) for name, values in relevance.contributions.items()},
        faces=inputs["image"].transpose(0, 2, 3, 1) if "image" in inputs else None,
        frames=frames,
        sound=inputs.get("sound"),
        rate=RATE,
        columns=None if columns is None else dict(zip(feature_names, columns[:, 0].tolist(), strict=True)),
    )


def _table(
    clip: pd.Series,
    inputs: Mapping[str, np.ndarray],
    relevance: ClipRelevance,
    frames: Sequence[int],
    feature_names: Sequence[str],
) -> pd.DataFrame:
    """Returns one row per part of a clip: its relevance for the predicted emotion."""
    rows = []
    for name, values in relevance.moments.items():
        edges = np.linspace(0, 1, len(values) + 1)
        starts = edges[:-1] * len(inputs["sound"]) / RATE if name == "sound" else edges[:-1] * len(inputs[name])
        places = [f"{start:.3f} s" if name == "sound" else f"row {start:.0f}" for start in starts]
        if name == "image" and len(values) == len(frames):
            places = [f"frame {number}" for number in frames]
        rows += [(name, place, value) for place, value in zip(places, values[:, 0], strict=True)]
    if relevance.columns is not None:
        rows += [("features", name, value) for name, value in zip(feature_names, relevance.columns[:, 0], strict=True)]
    rows += [(name, "contribution", float(values[0])) for name, values in relevance.contributions.items()]
    table = pd.DataFrame(rows, columns=["modality", "part", "relevance"])
    for number, column in enumerate(("index", "clip", "label", "predicted")):
        table.insert(number, column, clip[column])
    return table


def _means(
    model: EmotionClassifier, clips: pd.DataFrame, inputs: Inputs, window: float, feature_names: Sequence[str]
) -> MeanRelevance:
    """Averages the relevance for their label over the clips of each emotion."""
    moments: dict[str, list[np.ndarray]] = {}
    contributions: dict[str, list[float]] = {}
    columns = []
    for place, clip in _tracked(clips, f"relevance in {len(clips)} test clips"):
        found = clip_relevance(model, inputs(place), [model.class_names.index(clip["label"])], window=window)
        for name, values in found.moments.items():
            moments.setdefault(name, []).append(_over_relative_time(values[:, 0]))
        for name, values in found.contributions.items():
            contributions.setdefault(name, []).append(float(values[0]))
        if found.columns is not None:
            columns.append(found.columns[:, 0])
    emotions = [name for name in model.class_names if name in set(clips["label"])]
    members = [(clips["label"] == name).to_numpy() for name in emotions]
    correct = (clips["label"] == clips["predicted"]).to_numpy()

    def mean(values: Sequence[np.ndarray] | Sequence[float]) -> np.ndarray:
        return np.stack([np.asarray(values)[rows].mean(0) for rows in members])

    return MeanRelevance(
        emotions,
        [int(rows.sum()) for rows in members],
        [bool(correct[rows].all()) for rows in members],
        # A clip of a single frame or row has no moments.
        {name: mean(values) for name, values in moments.items() if len(values) == len(clips)},
        {name: mean(values) for name, values in contributions.items()},
        mean(columns) if columns else None,
        feature_names,
    )


def _over_relative_time(values: np.ndarray) -> np.ndarray:
    """Returns the relevance of P parts of a clip at :data:`MOMENTS` moments from its start to its end."""
    return values[((np.arange(MOMENTS) + 0.5) * len(values) / MOMENTS).astype(int)]
