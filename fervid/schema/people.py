"""Describes a comparison of people by face embeddings, as recorded in the entry ``leakage`` of ``results.json``."""

from collections.abc import Mapping
from typing import Any


def describe_people(leakage: Mapping[str, Any]) -> list[str]:
    """Describes how people were compared: the threshold, its measured errors, and the terms of the face weights.

    Args:
        leakage: the entry ``leakage`` of ``results.json``.

    Returns:
        No sentences if faces were not compared.
    """
    identity, clustered = leakage.get("identity") or {}, leakage.get("subjects_clustered")
    if not identity and not clustered:
        return []
    what = "Subjects are clusters of face embeddings" if clustered else "People were compared by face embeddings"
    if not identity:
        return [f"{what}."]
    measured = identity.get("measured")
    return [
        f"{what} (threshold: similarity {identity['threshold']:.3f}).",
        *([describe_errors(measured)] if measured else []),
        *([describe_seen_people(leakage["seen_people"])] if leakage.get("seen_people") else []),
        *identity.get("terms", []),
    ]


def describe_seen_people(seen: Mapping[str, Any]) -> str:
    """Describes how many subjects of another corpus look like someone in the training data.

    Args:
        seen: the entry ``leakage.seen_people`` of ``results.json``.
    """
    chance = seen["expected_by_chance"]
    return (
        f"{seen['count']} of {seen['total']} {seen['kind']} match someone in the training or validation subset by face "
        "embeddings; "
        + ("some matches may be look-alikes." if chance is None else f"{chance:.1f} matches are expected by chance.")
    )


def describe_errors(measured: Mapping[str, Any]) -> str:
    """Describes the measured errors of a threshold.

    Args:
        measured: the entry ``leakage.identity.measured`` of ``results.json``.
    """

    def percent(name: str) -> str:
        return "unknown" if measured[name] is None else f"{measured[name]:.3%}"

    auc = "unknown" if measured["auc"] is None else f"{measured['auc']:.4f}"
    text = (
        f"Measured on {measured['subjects']} subjects of {measured['corpus']}, as labelled: false-match rate of pairs "
        f"of pictures {percent('false_match_rate')} ({measured['different_pairs']:,} pairs), false-non-match rate "
        f"{percent('false_non_match_rate')} ({measured['same_pairs']:,} pairs), equal error rate "
        f"{percent('equal_error_rate')}, AUC {auc}."
    )
    clustering = measured.get("clustering")
    if clustering is None:  # nothing was clustered
        return text
    if not clustering:
        return f"{text} The errors of clustering were not measured at this threshold."
    return (
        f"{text} Clustering without names: {clustering['clusters']} clusters for {clustering['subjects']} subjects; "
        f"{clustering['pairs_joined']:.1%} of the pairs of clips of one subject are in one cluster, and "
        f"{clustering['pairs_correct']:.1%} of the pairs in one cluster are of one subject."
    )
