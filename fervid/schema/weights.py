"""What the initial weights of a network were trained on, and how much of it a corpus shares."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from fervid.errors import InputError
from fervid.schema.leakage_levels import LeakageLevel

UNKNOWN = "unknown"
ENDINGS = (".pth", ".pt", ".ckpt", ".safetensors")  # of files of weights; anything else is the name of weights
RESEARCH_ONLY = "Research only: the terms of the initial weights or of their data exclude commercial use."
RESTRICTED = re.compile(r"non-?commercial|\bby-nc\b|research[ -](only|and education)|only for research", re.IGNORECASE)


class WeightsRecord(TypedDict):
    """Origin of the initial weights.

    Attributes:
        requested: requested name or file; null for random weights.
        source: ``random``, ``file``, ``torchvision``, ``timm`` or ``transformers``.
        sha256: digest of the file or, if there is no file, of the tensors; null for random weights.
        missing: reason why the requested weights are not used; null if they are used.
        unwrapped: entry and prefix of the file under which the weights were found; null if there is neither.
        data: data that the weights were trained on; null for random weights.
        licence: terms of the weights and of these data; null for random weights.
        emotion_labels_of: corpora whose emotion labels the weights were trained on.
        subjects_of: corpora whose subjects the weights were trained on.
    """

    requested: NotRequired[str | None]
    source: NotRequired[str]
    sha256: NotRequired[str | None]
    missing: NotRequired[str | None]
    unwrapped: NotRequired[str | None]
    data: NotRequired[str | None]
    licence: NotRequired[str | None]
    emotion_labels_of: NotRequired[list[str]]
    subjects_of: NotRequired[list[str]]


@dataclass(frozen=True)
class WeightsInfo:
    """What weights were trained on; the settings ``backbone.weights_info``.

    Attributes:
        data: data that the weights were trained on; None if unknown.
        licence: terms of the weights and of these data; None if unknown.
        emotion_labels_of: corpora whose emotion labels the weights were trained on, by the name of their option or
            folder.
        subjects_of: corpora whose subjects the weights were trained on, with or without labels.

    Raises:
        InputError: if a value has the wrong type.
    """

    data: str | None = None
    licence: str | None = None
    emotion_labels_of: Sequence[str] = ()
    subjects_of: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("emotion_labels_of", "subjects_of"):
            names = getattr(self, name) or ()
            if isinstance(names, str) or not all(isinstance(each, str) for each in names):
                raise InputError(
                    f"backbone.weights_info.{name}={names} is not a list of names: give a list such as [ravdess]."
                )
        for name in ("data", "licence"):
            if not isinstance(getattr(self, name), str | None):
                raise InputError(f"backbone.weights_info.{name}={getattr(self, name)} is not a text.")

    def over(self, known: "WeightsInfo") -> "WeightsInfo":
        """Returns these values with those of ``known`` where they are missing, and all corpora of both."""
        return WeightsInfo(
            self.data or known.data or UNKNOWN,
            self.licence or known.licence or UNKNOWN,
            list(dict.fromkeys([*(self.emotion_labels_of or ()), *(known.emotion_labels_of or ())])),
            list(dict.fromkeys([*(self.subjects_of or ()), *(known.subjects_of or ())])),
        )


def joined(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Joins the initial weights of the encoders of a network: those of the only pretrained one, or of all of them.

    Args:
        records: the initial weights of each encoder, as :class:`WeightsRecord`.
    """
    pretrained = [each for each in records if each.get("source", "random") != "random" or each.get("missing")]
    if len(pretrained) < 2:
        return (pretrained or list(records))[0]
    texts = ("requested", "source", "sha256", "missing", "unwrapped", "data", "licence")
    found: dict[str, Any] = {
        name: " and ".join(dict.fromkeys(str(each[name]) for each in pretrained if each.get(name))) or None
        for name in texts
    }
    for name in ("emotion_labels_of", "subjects_of"):
        found[name] = sorted({corpus for each in pretrained for corpus in each.get(name) or []})
    return found


def trained_weights_info(results: Mapping[str, Any]) -> WeightsInfo:
    """Returns what the final weights of a run were trained on: its corpora, and the data of its initial weights.

    Args:
        results: the contents of the run's ``results.json``.
    """
    initial, corpora = results.get("weights") or {}, results["data"]["corpora"]
    names = [each["name"] if each["published"] else Path(each["root"] or each["name"]).name for each in corpora]
    return WeightsInfo(
        " and ".join(filter(None, [initial.get("data"), *names])),
        "; ".join(dict.fromkeys(filter(None, [initial.get("licence"), *(each["licence"] for each in corpora)]))),
        list(dict.fromkeys([*(initial.get("emotion_labels_of") or []), *names])),
        list(dict.fromkeys([*(initial.get("subjects_of") or []), *names])),
    )


def is_research_only(weights: Mapping[str, Any]) -> bool:
    """Whether the recorded terms exclude commercial use.

    Args:
        weights: the entry ``weights`` of ``results.json``.

    Examples:
        >>> is_research_only({"licence": "CC BY-NC 4.0"}), is_research_only({"licence": "Apache-2.0"})
        (True, False)
    """
    return bool(RESTRICTED.search(str(weights.get("licence") or "")))


def describe_weights(weights: Mapping[str, Any]) -> list[str]:
    """Describes the initial weights in sentences: their data and licence, and whether they are for research only.

    Args:
        weights: the entry ``weights`` of ``results.json``.

    Returns:
        No sentences for random weights.
    """
    if weights.get("source", "random") == "random":
        return []
    name = str(weights.get("requested")).replace("\\", "/")
    name = name.rsplit("/", 1)[-1] if weights["source"] == "file" else name
    data, licence = (weights.get(entry) or UNKNOWN for entry in ("data", "licence"))
    described = f"Initial weights {name} ({weights['source']}): trained on {data}; licence: {licence}."
    return [described, *([RESEARCH_ONLY] if is_research_only(weights) else [])]


def seen_in_pretraining(weights: Mapping[str, Any] | None, corpora: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the corpora of a run that the initial weights were trained on.

    Args:
        weights: the entry ``weights`` of ``results.json``.
        corpora: the entry ``data.corpora``.

    Returns:
        The entries ``emotion_labels_of`` and ``subjects_of``, without the names of other corpora; empty entries are
        left out. Case and punctuation do not matter (``RAVDESS`` is ``ravdess``).
    """
    if not weights or weights.get("source", "random") == "random":
        return {}
    names = {_plain(corpus["name"]) for corpus in corpora}
    names |= {_plain(Path(str(corpus["root"])).name) for corpus in corpora if corpus["root"]}
    seen = {
        entry: [name for name in weights.get(entry) or [] if _plain(name) in names]
        for entry in ("emotion_labels_of", "subjects_of")
    }
    return {entry: found for entry, found in seen.items() if found}


def with_weights(
    leakage: Mapping[str, Any], weights: Mapping[str, Any] | None, corpora: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns the entry ``leakage`` of a run, with what its initial weights leak.

    Args:
        leakage: the audit of the split.
        weights: the entry ``weights`` of ``results.json``.
        corpora: the entry ``data.corpora``.

    Returns:
        If the weights were trained on a corpus, a further entry ``weights`` (:func:`seen_in_pretraining`), and as
        ``level`` the worse of the levels of the split and of the weights.
    """
    seen = seen_in_pretraining(weights, corpora)
    if not seen:
        return dict(leakage)
    level = LeakageLevel.LABELS_IN_PRETRAINING if "emotion_labels_of" in seen else LeakageLevel.SUBJECTS_IN_PRETRAINING
    worst = max(level, LeakageLevel(leakage["level"]), key=lambda each: each.rank)
    return {**leakage, "level": worst.value, "weights": seen}


def pretraining_sentences(seen: Mapping[str, Sequence[str]]) -> list[str]:
    """Describes what initial weights leak, for warnings.

    Args:
        seen: the result of :func:`seen_in_pretraining`.
    """
    levels = {
        "emotion_labels_of": ("emotion labels", LeakageLevel.LABELS_IN_PRETRAINING),
        "subjects_of": ("subjects", LeakageLevel.SUBJECTS_IN_PRETRAINING),
    }
    return [
        f"the initial weights were trained on {what} of {' and '.join(seen[entry])}, a corpus of this run: its leakage "
        f"level is {level} or worse, and reports do not compare it with runs whose weights were not"
        for entry, (what, level) in levels.items()
        if entry in seen
    ]


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
