"""Calibration of the probabilities of each system."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fervid.metrics.aggregation import class_indices
from fervid.metrics.calibration import apply_temperature, expected_calibration_error, fit_temperature
from fervid.report.systems import System
from fervid.runs.run import Run
from fervid.schema.predictions import probabilities
from fervid.schema.tables import Table


def calibration_table(systems: Sequence[System]) -> Table | None:
    """Returns the calibration errors before and after temperature scaling, fitted on the validation subset.

    None if no system has predictions of validation frames.
    """
    rows = []
    for system in systems:
        if not system.has_validation:
            continue
        found = pd.DataFrame([_calibration(run) for run in system.runs])
        rows.append({"system": system.name, "leakage": system.level, **found.mean().to_dict()})
        rows[-1]["temperature"] = float(np.exp(np.log(found["temperature"]).mean()))  # geometric mean: a factor
    formats = {
        **dict.fromkeys(("ECE", "ECE scaled"), "{:.1%}"),
        **dict.fromkeys(("NLL", "NLL scaled"), "{:.3f}"),
        "temperature": "{:.2f}",
    }
    notes = [
        "ECE: expected calibration error over 15 bins of test frames. NLL: negative log-likelihood of test frames.",
        "Scaled: after temperature scaling, with a temperature between 0.05 and 20 fitted on the validation subset "
        "(Guo et al. 2017). A temperature above 1 means that the model is overconfident.",
    ]
    missing = [system.name for system in systems if not system.has_validation]
    if missing:
        notes.append(f"Omitted because predictions_val.csv is missing: {'; '.join(missing)}.")
    return Table("calibration", "Calibration", pd.DataFrame(rows), formats, notes) if rows else None


def _calibration(run: Run) -> dict[str, float]:
    temperature = fit_temperature(*_probabilities(run.validation, run.class_names))
    before, labels = _probabilities(run.predictions, run.class_names)
    after = apply_temperature(before, temperature)
    return {
        "ECE": expected_calibration_error(before, labels),
        "ECE scaled": expected_calibration_error(after, labels),
        "NLL": _negative_log_likelihood(before, labels),
        "NLL scaled": _negative_log_likelihood(after, labels),
        "temperature": temperature,
    }


def _negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    label_probabilities = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(label_probabilities, np.finfo(np.float32).tiny)).mean())


def scaled_probabilities(system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Test probabilities of all replicates before and after temperature scaling (N, num_classes), and labels (N,)."""
    parts = []
    for run in system.runs:
        before, labels = _probabilities(run.predictions, run.class_names)
        temperature = fit_temperature(*_probabilities(run.validation, run.class_names))
        parts.append((before, apply_temperature(before, temperature), labels))
    before, after, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return before, after, labels


def _probabilities(predictions: pd.DataFrame, class_names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, num_classes) and labels (N,) of a predictions table."""
    return probabilities(predictions, class_names), class_indices(predictions["label"], class_names)
