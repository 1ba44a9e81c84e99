"""The initial weights of all systems: their data and licence."""

from collections.abc import Sequence

import pandas as pd

from fervid.report.systems import System
from fervid.schema.tables import Table
from fervid.schema.weights import RESEARCH_ONLY, UNKNOWN, is_research_only


def weight_table(systems: Sequence[System]) -> Table | None:
    """Returns what the initial weights of each system were trained on; None if all are random."""
    rows = []
    for system in systems:
        weights = system.runs[0].results.get("weights") or {}
        if weights.get("source", "random") == "random":
            continue
        requested = str(weights.get("requested"))
        name = requested.replace("\\", "/").rsplit("/", 1)[-1] if weights["source"] == "file" else requested
        rows.append(
            {
                "system": system.name,
                "leakage": system.level,
                "weights": f"{name} ({weights['source']})",
                "trained on": weights.get("data") or UNKNOWN,
                "emotion labels of": ", ".join(weights.get("emotion_labels_of") or []),
                "subjects of": ", ".join(weights.get("subjects_of") or []),
                "licence": weights.get("licence") or UNKNOWN,
                "research only": "yes" if is_research_only(weights) else "",
            }
        )
    if not rows:
        return None
    data = pd.DataFrame(rows)
    notes = [RESEARCH_ONLY] if any(data["research only"]) else []
    empty = [name for name in data if not any(data[name])]
    return Table("weights", "Initial weights", data.drop(columns=empty), notes=notes)
