"""Published scores beside those of systems that were tested under the same protocol."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from fervid.report.systems import System
from fervid.schema.tables import Table

FILE = Path(__file__).with_name("references.yaml")
MEASURES = {"uar": "UAR", "accuracy": "WAR"}


@cache
def read_references() -> list[dict[str, Any]]:
    """Reads ``references.yaml``: corpus, modalities, number of classes, level, protocol and published results."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def reference_table(systems: Sequence[System]) -> Table | None:
    """Returns the published results of the protocols of the systems beside their own; None if there are none.

    A system has a protocol if it has the same corpus, modalities, number of classes and settings, and its runs are all
    runs of the protocol, such as all folds.

    Args:
        systems: the systems.
    """
    rows: list[dict[str, Any]] = []
    for reference in read_references():
        found = [system for system in systems if _has_protocol(system, reference)]
        if not found:
            continue
        protocol = f"{reference['corpus']}, {' and '.join(reference['modalities'])}, {reference['classes']} emotions, "
        protocol += ", ".join(_described(name, value) for name, value in reference["protocol"].items())
        measures = dict.fromkeys(result["measure"] for result in reference["results"])
        rows += [
            {
                "protocol": protocol,
                "system": result["system"],
                "source": result["citation"],
                MEASURES[result["measure"]]: result["percent"] / 100,
                "certainty": result["certainty"],
                "remark": result.get("remark", ""),
            }
            for result in reference["results"]
        ]
        rows += [
            {"protocol": protocol, "system": system.name, "source": "this report"}
            | {MEASURES[measure]: _score(system, measure, reference["level"]) for measure in measures}
            for system in found
        ]
    if not rows:
        return None
    columns = ["protocol", "system", "source", *MEASURES.values(), "certainty", "remark"]
    data = pd.DataFrame(rows).reindex(columns=columns).dropna(axis=1, how="all").fillna({"certainty": "", "remark": ""})
    notes = [
        "Mean over the runs of the protocol. Certainty: checked in the paper, its abstract or its predictions, "
        "or second-hand from other papers. Preprocessing and initial weights differ between the systems."
    ]
    formats = {name: "{:.2%}" for name in MEASURES.values()}
    return Table("references", "Published results under the same protocol", data, formats, notes)


def _has_protocol(system: System, reference: dict[str, Any]) -> bool:
    first = system.runs[0]
    if any("evaluated" in run.results for run in system.runs):  # perhaps adapted, or without some test subjects
        return False
    if first.results["data"]["corpus"] != reference["corpus"] or first.modalities != reference["modalities"]:
        return False
    if len(system.class_names) != reference["classes"] or first.results["data"].get("rendered"):
        return False
    for name, value in reference["protocol"].items():
        found = [run.setting(name) for run in system.runs]
        if isinstance(value, list) and sorted(set(found), key=str) != sorted(value, key=str):
            return False
        if not isinstance(value, list) and set(found) != {value}:
            return False
    return True


def _score(system: System, measure: str, level: str) -> float:
    """Returns the mean score of a system; of whole clips if the published scores are, and its samples are frames."""
    of_clips = level == "clips" and system.runs[0].samples == "frames"
    name = f"test/clip_{measure}" if of_clips else f"test/{measure}"
    return float(np.mean([run.metric(name) if name in run.results["metrics"] else np.nan for run in system.runs]))


def _described(name: str, value: Any) -> str:
    return f"{len(value)} runs" if isinstance(value, list) else f"{name}={value}"
