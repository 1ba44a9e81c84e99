"""The section of a report on runs of this task; it needs no torch."""

import pandas as pd

from fervid.report.writing import Section
from fervid.schema.tables import Table


def intensity_sections(systems, sentences, *, resamples, seed):
    """One table: the mean and the standard deviation of the test error of each system over its runs."""
    errors = [pd.Series([run.metric("test/error") for run in system.runs]) for system in systems]
    rows = [
        {"system": system.name, "runs": len(each), "mean absolute error": each.mean(), "deviation": each.std()}
        for system, each in zip(systems, errors, strict=True)
    ]
    formats = {"mean absolute error": "{:.3f}", "deviation": "{:.3f}"}
    table = Table("intensity", "Error of the intensity, from 0 (normal) to 1 (strong)", pd.DataFrame(rows), formats)
    return [Section("Intensity", [table], sentences=sentences, terminal=True)]
