"""The predictions table: one row per frame with its manifest columns and the predictions of a model.

In addition to the columns of the manifest it has ``index`` (row of the sample table) and the columns of the task.
Classification has ``label`` (the label; replaces its original column such as ``emotion``), ``predicted`` (the most
probable class) and a column ``prob_<class>`` with the probability of each class. Other tasks keep the columns of their
labels and have those of :class:`fervid.schema.parts.Part`: ``predicted_valence``, ``prob_au_12``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fervid.errors import InputError, first_line
from fervid.schema.columns import FRAME_KEY, PROBABILITY
from fervid.schema.csv_tables import read_csv
from fervid.schema.parts import EMOTION, Part, table_mistake
from fervid.storage.atomic import write_csv

UNSURE = "unsure"  # the answer of a model that is not confident enough
TEST_FILE, VALIDATION_FILE = "predictions.csv", "predictions_val.csv"  # in a run folder


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """Returns the names of the probability columns, in the order of the classes."""
    return [f"{PROBABILITY}{name}" for name in class_names]


def probabilities(table: pd.DataFrame, class_names: Sequence[str]) -> np.ndarray:
    """Returns the probabilities of a table, float64 (N, num_classes), in the order of the classes."""
    return table[probability_columns(class_names)].to_numpy(dtype=float)


def confidence(table: pd.DataFrame, class_names: Sequence[str]) -> np.ndarray:
    """Returns the largest probability of each row, shape (N,)."""
    return probabilities(table, class_names).max(axis=1)


def predictions_table(
    samples: pd.DataFrame, probabilities: np.ndarray, class_names: Sequence[str], *, target: str = "emotion"
) -> pd.DataFrame:
    """Builds the predictions table of classification.

    Args:
        samples: n rows of a sample table, with the row number as index; or of a predictions table, whose predictions
            are replaced.
        probabilities: shape (N, num_classes).
        class_names: the classes, in the order of the probabilities.
        target: column with the labels.
    """
    columns = probability_columns(class_names)
    table = samples.drop(columns=["cache_row", "clip_row", "predicted", *columns], errors="ignore").rename(
        columns={target: "label"}
    )
    if "index" not in table:
        table.insert(0, "index", table.index)
    table["predicted"] = np.array(class_names, dtype=object)[probabilities.argmax(axis=1)]
    return pd.concat([table, pd.DataFrame(probabilities, columns=columns, index=table.index)], axis=1)


def parts_table(samples: pd.DataFrame, values: Mapping[str, np.ndarray], parts: Sequence[Part]) -> pd.DataFrame:
    """Builds the predictions table of a task with parts.

    Args:
        samples: n rows of a sample table, with the row number as index; or of a predictions table, whose predictions
            are replaced.
        values: predictions (N, len(part.names)) by the name of each part.
        parts: the parts.
    """
    columns = [name for part in parts for name in part.predictions]
    table = samples.drop(columns=["cache_row", "clip_row", *columns], errors="ignore")
    if "index" not in table:
        table.insert(0, "index", table.index)
    for part in parts:
        if part.name == EMOTION:
            table = predictions_table(table, values[EMOTION], part.names)
            continue
        # Numbers also where a corpus has text, so that predictions can be scored before they are written.
        table[part.labels] = table[part.labels].apply(pd.to_numeric, errors="coerce")
        table = pd.concat([table, pd.DataFrame(values[part.name], columns=part.predictions, index=table.index)], axis=1)
    return table


def write_predictions(folder: Path, test: pd.DataFrame, validation: pd.DataFrame | None = None) -> None:
    """Writes the predictions of a run; names are not escaped, so that they are unchanged when read again.

    Args:
        folder: run folder.
        test: predictions of the test frames.
        validation: predictions of the validation frames; None if there are none.

    Raises:
        OSError: if a file cannot be written.
    """
    write_csv(folder / TEST_FILE, test)
    if validation is not None:
        write_csv(folder / VALIDATION_FILE, validation)


def read_predictions(
    path: Path, class_names: Sequence[str] = (), rows: int = 0, parts: Sequence[Part] = ()
) -> pd.DataFrame:
    """Reads and checks a predictions table.

    Args:
        path: path of the CSV file.
        class_names: expected classes; empty for tasks without classes.
        rows: expected number of rows; 0 accepts any number.
        parts: the parts of the task.

    Raises:
        InputError: if the file cannot be read or is not a valid predictions table.
    """
    try:
        table = read_csv(path, numbers=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}.") from error
    wrong = _mistake(table, class_names, rows) or table_mistake(table, parts)
    if wrong:
        raise InputError(f"{path} cannot be read: {wrong}; train the run again, or leave it out of runs=.")
    return table


def _mistake(table: pd.DataFrame, class_names: Sequence[str], rows: int) -> str | None:
    columns = probability_columns(class_names)
    full = ["frame", *(["label", "predicted", *columns] if class_names else [])]
    missing = [name for name in dict.fromkeys([*FRAME_KEY, "subject", *full]) if name not in table]
    if missing:
        return f"it has no column {', '.join(missing)}"
    if table[["corpus", "clip", *full]].isna().any(axis=None):
        return "it has empty cells and may be truncated"
    text = [name for name in [*columns, "frame", "index"] if name in table and not _is_numeric(table[name])]
    if text:
        return f"its column {text[0]} has values that are not numbers"
    if class_names:
        values = probabilities(table, class_names)
        if ((values < -1e-6) | (values > 1 + 1e-6)).any():
            return "it has probabilities outside 0 to 1"
        unknown = sorted(set(table["label"]).union(table["predicted"]) - set(class_names))
        if unknown:
            return f"it contains {unknown[0]!r}, which is not an emotion of the run"
    if rows and len(table) != rows:
        return f"it has {len(table)} rows, but its results.json records {rows}"
    return None


def _is_numeric(values: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))
