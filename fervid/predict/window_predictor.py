"""Predicts emotions in windows of videos and sounds with a trained run of clips, sounds or both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fervid.data.inputs import padded, scaled
from fervid.errors import InputError, reason
from fervid.media.clip_sounds import MIN_SECONDS
from fervid.media.sampling import Sampling
from fervid.media.sound import RATE
from fervid.models.sound_encoders import SoundEncoder
from fervid.predict.run_predictor import RunPredictor
from fervid.predict.windows import TOLERANCE, WindowInput, WindowPrediction
from fervid.runs.build import make_sample
from fervid.runs.load import read_manifest, stored_config
from fervid.schema.columns import keys
from fervid.schema.parts import CLASSIFICATION

BATCH_SIZE = 8  # windows per forward pass; a window may have dozens of pictures
DEFAULT_SECONDS = 3.0  # length of a window if the run does not record the length of its clips
MIN_WINDOW, MAX_WINDOW = 0.1, 600.0  # seconds


class WindowPredictor(RunPredictor):
    """Classifies windows of videos and sounds, with the same preprocessing as in the run's training.

    The arguments and further attributes are those of :class:`fervid.predict.run_predictor.RunPredictor`.

    Args:
        folder: path to the run folder.
        frame_stride: of a window, use every ``frame_stride``-th frame; None: the frames that the run used of a clip.

    Attributes:
        sample: kind of sample.
        sampling: selects the frames of a window that are searched for faces; the network is shown some of them
            (:meth:`fervid.data.samples.Sample.positions`).
        modalities: the modalities that can be read from a video or a sound file: ``image``, ``sound`` or both.
        missing: modalities that cannot; the network answers without them.
        needed: modalities without which the network cannot answer, since it was not trained to.

    Raises:
        InputError: if the folder contains no finished run, or the run cannot classify videos or sounds.
    """

    def __init__(self, folder: str | Path, *, frame_stride: int | None = None, **options: Any):
        super().__init__(folder, of_pictures=False, **options)
        if self.results["task"] != CLASSIFICATION:
            raise InputError(
                f"{self.folder} predicts clips or sounds with the task {self.results['task']}, for which predict and "
                "the demo show only emotions: give a run of single pictures (sample=frame), or test it with "
                "fervid.evaluate."
            )
        config = stored_config(self.results, self.folder, trust=options.get("trust", ()))
        self.sample = make_sample(config)
        network = self.model.network
        self.modalities = tuple(name for name in network.modalities if name != "features")
        self.missing = tuple(name for name in network.modalities if name == "features")
        if not self.modalities:
            raise InputError(
                f"{self.folder} classifies feature tables, which cannot be computed from a video or a sound file: its "
                "answers for the test clips are in predictions.csv."
            )
        self.needed = () if network.can_miss else network.modalities
        if self.missing and not network.can_miss:
            raise InputError(
                f"{self.folder} needs {' and '.join(network.modalities)} together, and features cannot be computed "
                "from a video or a sound file: train with fusion=late or fusion.modality_dropout=0.3."
            )
        try:
            self.sampling = self._sampling(config.dataset, frame_stride)
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"the configuration of {self.folder} cannot be used: {reason(error)}.") from error

    def _sampling(self, dataset: Mapping[str, Any], frame_stride: int | None) -> Sampling:
        part: Any = dataset.get("window") or "all"
        if frame_stride is not None:
            return Sampling(frame_stride, window=part)
        if "frame_stride" in dataset:
            return Sampling(dataset["frame_stride"], dataset.get("frames_per_clip"), part)
        return Sampling(frames_per_clip=self.sample.frames, window=part)  # the rendered subjects have no stride

    @property
    def min_samples(self) -> int:
        """Smallest number of samples of a sound."""
        encoder = self.model.network.encoders["sound"]
        needed = encoder.min_samples if isinstance(encoder, SoundEncoder) else 0
        return max(needed, round(MIN_SECONDS * RATE))

    def window_seconds(self, seconds: float | None = None) -> float:
        """Returns the length of a window in seconds.

        Args:
            seconds: the wanted length; None: the median length of the run's training clips, or 3 s if it is unknown.

        Raises:
            InputError: if the length is out of range.
        """
        if seconds is None:
            typical = typical_seconds(read_manifest(self.folder)) or DEFAULT_SECONDS
            return round(min(max(typical, MIN_WINDOW), self.max_window), 2)
        if not MIN_WINDOW <= seconds <= self.max_window:
            raise InputError(f"window={seconds} is out of range: use {MIN_WINDOW:g} to {self.max_window:g} seconds.")
        return float(seconds)

    @property
    def max_window(self) -> float:
        """Largest length of a window in seconds, which the sound encoder may limit."""
        encoder = self.model.network.encoders.get("sound")
        longest = encoder.max_samples / RATE if isinstance(encoder, SoundEncoder) else MAX_WINDOW
        return min(MAX_WINDOW, longest - TOLERANCE)  # the last window may be longer by the tolerance

    @property
    def answers_alone(self) -> tuple[str, ...]:
        """Modalities from each of which the network also answers alone; none if it has a single one."""
        return self.modalities if len(self.modalities) > 1 and not self.needed else ()

    def can_answer(self, modalities: Sequence[str]) -> bool:
        """Whether the network answers if only some modalities are present."""
        return bool(modalities) and set(self.needed) <= set(modalities)

    def choose(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the T of several pictures that the network is shown, evenly spaced as in training, (T, ...)."""
        return np.stack([pictures[position] for position in self.sample.positions(len(pictures))])

    @torch.inference_mode()
    def classify(self, given: Sequence[WindowInput]) -> list[WindowPrediction]:
        """Classifies windows.

        Args:
            given: the inputs of the windows; their pictures are crops as returned by :meth:`crop`.
        """
        answers: dict[int, WindowPrediction] = {}
        for modalities in dict.fromkeys(each.modalities for each in given):  # the same in all samples of a batch
            rows = [row for row, each in enumerate(given) if each.modalities == modalities]
            for start in range(0, len(rows), BATCH_SIZE):
                chosen = rows[start : start + BATCH_SIZE]
                answers |= zip(chosen, self._classify([given[row] for row in chosen]), strict=True)
        return [answers[row] for row in range(len(given))]

    def _classify(self, given: Sequence[WindowInput]) -> list[WindowPrediction]:
        """Classifies windows with the same modalities."""
        batch: dict[str, Tensor] = {}
        if given[0].pictures is not None:
            pictures = np.stack([each.pictures for each in given if each.pictures is not None])
            batch["image"] = torch.from_numpy(pictures).to(self.model.device).movedim(-1, -3)
        if given[0].sound is not None:
            sounds = [scaled(each.sound) for each in given if each.sound is not None]
            batch["sound"] = torch.from_numpy(padded(sounds)).to(self.model.device)
        outputs, alone = self.model.outputs_by_modality(batch)
        joined = _probabilities(outputs)
        of_each = {name: _probabilities(each) for name, each in alone.items() if name in self.answers_alone}
        return [
            WindowPrediction(
                each.window,
                each.modalities,
                joined[row],
                self.class_names[int(joined[row].argmax())],
                each.person,
                each.frames,
                {name: values[row] for name, values in of_each.items()},
            )
            for row, each in enumerate(given)
        ]


def typical_seconds(manifest: pd.DataFrame) -> float | None:
    """Returns the median length of the training clips of a run in seconds; None if it is unknown.

    Args:
        manifest: one row per frame or clip, with the length of its sound (``seconds``) or the times of its frames.
    """
    train = manifest[manifest["split"] == "train"]
    clips = train.groupby(keys(train, "clip"), sort=False)
    if "seconds" in train:
        median = clips["seconds"].first().median()
    elif "time" in train:
        spans, frames = clips["time"].agg(["min", "max"]), clips.size()
        several = frames > 1
        span = (spans["max"] - spans["min"])[several]
        median = (span * frames[several] / (frames[several] - 1)).median()  # the last frame lasts as long as the others
    else:
        return None
    return float(median) if median > 0 else None


def _probabilities(outputs: Tensor) -> np.ndarray:
    return outputs.float().softmax(dim=1).cpu().numpy()
