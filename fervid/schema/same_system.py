"""Decides whether two runs are the same run, and whether they are replicates of the same system.

The order of settings never matters.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fervid.schema.columns import VOTES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Locations of the data. The same data may be stored in several places: the fingerprint identifies it.
PLACES = ("split.path", "identity.calibration")
CORPUS_PLACES = ("root", "csv")  # last parts of the names of settings of a corpus
PATH_ENDING = "_path"  # of corpus settings that contain a path
# Settings that do not affect results: paths, how a step is computed, what is displayed. A name that ends in a point
# stands for all settings below it, one that ends in an underscore for all settings with this prefix. `threads` is not
# listed: the number of threads determines the order in which torch sums, and hence the rounding. It is compared as
# given: `auto` may mean another number on another machine, but a sweep that moves there must resume.
NEUTRAL = (
    *("ckpt_path", "cache_dir", "dataset.prepared_dir", "dataset.num_workers"),
    *("on_missing_weights", "backbone.on_missing_weights", "sound_encoder.on_missing_weights"),
    *("optimizer.fused", "optimizer.foreach"),
    *("logger", "logger.", "paper", "paper.", "trainer.enable_"),
)
REPLICATE_SETTINGS = ("seed", "split.seed", "split.fold", "dataset.seed")  # replicates of one system differ in these
# The order in which options are listed.
GROUPS = (
    *("dataset", "split", "task", "backbone", "sample", "sound_encoder", "feature_encoder", "pooling", "fusion"),
    *("head", "finetune", "optimizer", "scheduler", "augmentation", "sound_augmentation", "detector"),
    *("recipe", "trainer", "experiment", "adaptation"),
)
ABSENT = "-"  # a setting that a run does not have
FINGERPRINTED = ("corpus", "subject", "clip", "frame", "emotion", "split")


def is_neutral(name: str) -> bool:
    """Whether a setting does not affect results.

    Args:
        name: dotted name, such as ``dataset.num_workers``.
    """
    if name.startswith("dataset.corpora.") and name.endswith(".prepared_dir"):
        return True
    return any(name.startswith(each) if each[-1] in "._" else name == each for each in NEUTRAL)


def is_place(name: str) -> bool:
    """Whether a setting is the location of data, such as ``dataset.root``, ``dataset.x_path`` or ``split.path``.

    Args:
        name: dotted name.
    """
    is_path = name.endswith(PATH_ENDING) or name.rpartition(".")[2] in CORPUS_PLACES
    return name in PLACES or (name.startswith("dataset.") and is_path)


def run_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that affect the results of a run, by dotted name.

    Args:
        config: configuration as plain containers, without references to other settings.

    Returns:
        All values except neutral settings and data locations, as in JSON.

    Examples:
        >>> run_settings({"seed": 1, "optimizer": {"lr": 0.001}, "cache_dir": "cache"})
        {'seed': 1, 'optimizer.lr': 0.001}
    """
    flat = _flat(json.loads(json.dumps(config, default=str)))
    return {name: value for name, value in flat if not is_neutral(name) and not is_place(name)}


def system_settings(config: Mapping[str, Any], choices: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the settings that define a system, as text: group options first, then values by dotted name.

    Args:
        config: configuration as for :func:`run_settings`.
        choices: the option chosen in each group.
    """
    chosen = {group: choices.get(group) or ABSENT for group in GROUPS}
    values = {
        name: json.dumps(value).strip('"')
        for name, value in _flat(config, parts_of_lists=True)
        if not is_neutral(name)
        and name not in REPLICATE_SETTINGS
        and not is_place(name)
        # The option of a group determines its class, except for callbacks, of which there may be several.
        and (name.rsplit(".", 1)[-1] not in ("_target_", "_partial_") or name.startswith("callbacks."))
        and value != {}
        and not (value == [] and name.startswith("augmentation."))  # older runs store no augmentation as an empty list
    }
    several = (config.get("dataset") or {}).get("corpora")  # the settings of each of them are further values
    joint = {"dataset.corpora": "+".join(several)} if isinstance(several, Mapping) else {}
    return chosen | joint | dict(sorted(values.items()))


def fingerprint(manifest: "pd.DataFrame", hashes: "np.ndarray", targets: "np.ndarray | None" = None) -> str:
    """Returns a digest of frames, labels, subsets and faces that does not depend on the location of the corpus.

    Args:
        manifest: n rows, one per frame, in the order of use, with the column ``split``.
        hashes: perceptual hash of each face, uint8 (N, 32) (:func:`fervid.audit.duplicates.hash_picture`).
        targets: numeric targets, one row per sample, if the target is not the column ``emotion``.
    """
    import pandas as pd  # not at the top: --help does not need pandas

    digest = hashlib.sha256()
    for column in (*FINGERPRINTED, *(name for name in manifest if str(name).startswith(VOTES))):
        values = manifest[column]
        text = values.astype(str).where(values.notna(), "").astype(object)
        digest.update(pd.util.hash_pandas_object(text, index=False).to_numpy().tobytes())
    digest.update(hashes.tobytes())
    if targets is not None:
        digest.update(f"{targets.dtype.str} {targets.shape}".encode() + targets.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class RunIdentity:
    """The settings and data that identify a run.

    Attributes:
        settings: settings from :func:`run_settings`.
        places: absolute paths of the data locations (:func:`is_place`), by setting name.
        fingerprint: fingerprint of the data; None if unknown.
    """

    settings: dict[str, Any]
    places: dict[str, str]
    fingerprint: str | None = None

    @classmethod
    def of(
        cls, config: Mapping[str, Any], fingerprint: str | None = None, places: dict[str, str] | None = None
    ) -> "RunIdentity":
        """Builds the identity of a run from its configuration.

        Args:
            config: configuration as for :func:`run_settings`.
            fingerprint: fingerprint of the data, if known.
            places: stored data locations of a run that was started in another folder; None resolves them here.
        """
        if places is not None:
            return cls(run_settings(config), places, fingerprint)
        given = {name: value for name, value in _flat(config) if is_place(name) and value is not None}
        here = {name: str(Path(str(value)).expanduser().resolve()) for name, value in given.items()}
        return cls(run_settings(config), here, fingerprint)

    def changed_settings(self, before: "RunIdentity") -> list[str]:
        """Returns the settings that differ from an earlier run, as ``optimizer.lr=0.01 (was 0.001)``, sorted."""
        names = sorted(self.settings.keys() | before.settings.keys())
        one, other = ([json.dumps(run.settings.get(name)) for name in names] for run in (self, before))
        compared = zip(names, one, other, strict=True)
        return [f"{name}={value} (was {earlier})" for name, value, earlier in compared if value != earlier]

    def is_same(self, other: "RunIdentity") -> bool:
        """Whether another run has the same settings and data.

        Data are compared by fingerprint, because files may change in place; if a fingerprint is unknown, by location.
        """
        if self.fingerprint is None or other.fingerprint is None:
            return self.settings == other.settings and self.places == other.places
        return self.settings == other.settings and self.fingerprint == other.fingerprint


def _flat(config: Mapping[str, Any], prefix: str = "", *, parts_of_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """Yields the values of nested settings with their dotted names.

    Args:
        config: nested settings.
        prefix: prefix of each name.
        parts_of_lists: whether to descend into lists of settings, with the position as part of the name.
    """
    for name, value in config.items():
        full = f"{prefix}{name}"
        if isinstance(value, list) and parts_of_lists and value and all(isinstance(part, dict) for part in value):
            value = {str(number): part for number, part in enumerate(value)}
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{full}.", parts_of_lists=parts_of_lists)
        else:
            yield full, value
