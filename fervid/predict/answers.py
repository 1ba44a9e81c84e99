"""Turns probabilities into answers: an emotion or "unsure", and the set of emotions that cannot be excluded."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fervid.errors import InputError
from fervid.metrics.aggregation import class_indices
from fervid.metrics.calibration import apply_temperature, fit_temperature
from fervid.metrics.conformal import conformal_sets, min_probability, min_samples
from fervid.metrics.selective import risk_threshold
from fervid.runs.run import Run
from fervid.schema.predictions import UNSURE, VALIDATION_FILE, probabilities

SEPARATOR = "|"  # between the emotions of a set
ANSWER_COLUMNS = {
    "answer": f"`emotion`, or `{UNSURE}` if `calibrated` is below the threshold; only with `max_risk`",
    "calibrated": "the probability of `emotion` after temperature scaling; only with `max_risk`",
    "set": f"emotions that contain the true one with the probability `conformal`, joined by `{SEPARATOR}`, the most "
    "probable first; only with `conformal`",
}
"""Further columns of the tables of faces and windows, and their meaning."""


@dataclass(frozen=True)
class Answer:
    """The answer for one face or window.

    Attributes:
        emotion: the most probable emotion, or ``unsure``; None if answers were not limited to a risk.
        confidence: calibrated probability of the most probable emotion; None if answers were not limited to a risk.
        emotions: the conformal set, the most probable emotion first; None if it was not asked for.
    """

    emotion: str | None = None
    confidence: float | None = None
    emotions: tuple[str, ...] | None = None

    @property
    def is_unsure(self) -> bool:
        """Whether the model does not answer."""
        return self.emotion == UNSURE


@dataclass(frozen=True)
class Answers:
    """Decides which probabilities of a run are answered, as calibrated on its validation subset.

    Attributes:
        class_names: the emotions, in the order of the probabilities.
        samples: what was counted in the validation subset: ``frames`` or ``clips``.
        max_risk: largest fraction of wrong answers; None: always answer.
        temperature: temperature of the calibrated confidence.
        threshold: smallest calibrated confidence that is answered.
        coverage: fraction of the validation samples that is answered.
        conformal: fraction of the conformal sets that contain the label; None: no sets.
        set_threshold: smallest probability of an emotion in the set.
    """

    class_names: list[str]
    samples: str
    max_risk: float | None = None
    temperature: float = 1.0
    threshold: float = 0.0
    coverage: float = 1.0
    conformal: float | None = None
    set_threshold: float = 0.0

    @classmethod
    def of_run(cls, run: Run, *, max_risk: float | None = None, conformal: float | None = None) -> "Answers":
        """Calibrates the answers of a run on its validation predictions.

        Args:
            run: the run.
            max_risk: largest fraction of wrong answers (:func:`fervid.metrics.selective.risk_threshold`); None: always
                answer.
            conformal: fraction of the conformal sets that contain the label; None: no sets.

        Raises:
            InputError: if the run has no validation predictions, they are too few, or no threshold reaches the risk.
        """
        name, value = ("conformal", conformal) if max_risk is None else ("max_risk", max_risk)
        if conformal is not None:
            min_samples(conformal)  # rejects a value that is out of range
        if not run.has_validation:
            raise InputError(
                f"{name}={value} is calibrated on validation predictions, but {run.folder} has no {VALIDATION_FILE}: "
                "leave it out, or train with a validation subset."
            )
        values = probabilities(run.validation, run.class_names)
        labels = class_indices(run.validation["label"], run.class_names)
        found: dict[str, Any] = {}
        if max_risk is not None:
            temperature = fit_temperature(values, labels)
            confidence = apply_temperature(values, temperature).max(axis=1)
            threshold = risk_threshold(confidence, values.argmax(axis=1) == labels, max_risk)
            if threshold is None:
                wrong = float((values.argmax(axis=1) != labels).mean())
                raise InputError(
                    f"max_risk={max_risk} cannot be reached: on the {len(labels)} validation {run.samples} of "
                    f"{run.folder}, {wrong:.0%} of the predictions are wrong, and too many of the most confident ones; "
                    "give a larger risk, or a run with more validation samples."
                )
            coverage = float((confidence >= threshold).mean())
            found |= {"temperature": temperature, "threshold": threshold, "coverage": coverage}
        if conformal is not None:
            found["set_threshold"] = min_probability(values, labels, conformal)
        return cls(run.class_names, run.samples, max_risk=max_risk, conformal=conformal, **found)

    @property
    def columns(self) -> list[str]:
        """The columns of :data:`ANSWER_COLUMNS` that are filled."""
        return [*(("answer", "calibrated") if self.max_risk is not None else ()), *(["set"] if self.conformal else [])]

    def of(self, values: np.ndarray) -> Answer:
        """Returns the answer for the probabilities (num_classes,) of a face or window."""
        emotion = confidence = emotions = None
        if self.max_risk is not None:
            confidence = float(apply_temperature(values[None], self.temperature).max())
            # A table of predictions has rounded probabilities.
            is_sure = confidence >= self.threshold - 1e-6
            emotion = self.class_names[int(values.argmax())] if is_sure else UNSURE
        if self.conformal is not None:
            chosen = conformal_sets(values[None], self.set_threshold)[0]
            emotions = tuple(
                self.class_names[number] for number in np.argsort(-values, kind="stable") if chosen[number]
            )
        return Answer(emotion, confidence, emotions)

    def sentences(self) -> list[str]:
        """Describes how the answers were calibrated, for the terminal."""
        found = []
        if self.max_risk is not None:
            found.append(
                f'Below a calibrated confidence of {self.threshold:.2f}, the answer is "{UNSURE}". Of the validation '
                f"{self.samples}, {self.coverage:.0%} are answered, at most {self.max_risk:.0%} of them wrongly. Other "
                "people and recordings may be harder."
            )
        if self.conformal is not None:
            found.append(
                f"Sets have all emotions with a probability of at least {self.set_threshold:.3f}. Of those of the "
                f"validation {self.samples}, {self.conformal:.0%} contain the label."
            )
        return found


def answer_cells(answer: Answer | None) -> dict[str, Any]:
    """Returns the cells of :data:`ANSWER_COLUMNS` that an answer fills."""
    if answer is None:
        return {}
    cells: dict[str, Any] = {}
    if answer.emotion is not None and answer.confidence is not None:
        cells |= {"answer": answer.emotion, "calibrated": round(answer.confidence, 6)}
    if answer.emotions is not None:
        cells["set"] = SEPARATOR.join(answer.emotions)
    return cells
