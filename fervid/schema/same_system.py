"""When two runs are the same run, and when they are replicates of the same system: the one definition.

The order in which settings were given never matters.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

# Where the data lies: two places may hold the same data, which the fingerprint tells.
PLACES = ("dataset.root", "dataset.csv", "split.path")
PATH_ENDING = "_path"  # of a corpus's own settings that hold a path
# Settings that change no result: where things lie, how a step is computed, what is shown. Of a name that ends in a
# point all settings below it, of one that ends in an underscore all that begin so. `threads` is not among them: the
# number of threads decides in which order torch sums up, and so how it rounds. It is compared as it was given: `auto`
# may be another number on another machine, where processors differ anyway, and a sweep that moves there must resume.
NEUTRAL = (
    *("ckpt_path", "cache_dir", "dataset.prepared_dir", "dataset.num_workers"),
    *("on_missing_weights", "backbone.on_missing_weights", "optimizer.fused", "optimizer.foreach"),
    *("logger", "logger.", "paper", "paper.", "trainer.enable_"),
)
REPLICATE_SETTINGS = ("seed", "split.seed", "split.fold", "dataset.seed")  # replicates of one system differ in these
# The order in which a reader wants to be told of the options.
GROUPS = (
    *("dataset", "split", "task", "backbone", "head", "finetune", "optimizer", "scheduler", "augmentation", "detector"),
    *("trainer", "experiment"),
)
ABSENT = "-"  # a setting that a run does not have
FINGERPRINTED = ("corpus", "subject", "clip", "frame", "emotion", "split")


def is_neutral(name: str) -> bool:
    """Whether a setting changes no result.

    Args:
        name: dotted, such as ``dataset.num_workers``.
    """
    return any(name.startswith(each) if each[-1] in "._" else name == each for each in NEUTRAL)


def is_place(name: str) -> bool:
    """Whether a setting says where the data lies: one of :data:`PLACES`, or a corpus's own such as ``dataset.x_path``.

    Args:
        name: dotted.
    """
    return name in PLACES or (name.startswith("dataset.") and name.endswith(PATH_ENDING))


def run_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that shape what one run learns, by their dotted names.

    Args:
        config: plain containers, without references to other settings.

    Returns:
        All values but those that are neutral or places, as JSON has them.

    Examples:
        >>> run_settings({"seed": 1, "optimizer": {"lr": 0.001}, "cache_dir": "/tmp/cache"})
        {'seed': 1, 'optimizer.lr': 0.001}
    """
    flat = _flat(json.loads(json.dumps(config, default=str)))
    return {name: value for name, value in flat if not is_neutral(name) and not is_place(name)}


def system_settings(config: Mapping[str, Any], choices: Mapping[str, str | None]) -> dict[str, str]:
    """The settings that shape a system, as text: the options of groups first, then values by their dotted names.

    Args:
        config: as for :func:`run_settings`.
        choices: the option chosen in each group.
    """
    chosen = {group: choices.get(group) or ABSENT for group in GROUPS}
    told = {
        name: json.dumps(value).strip('"')
        for name, value in _flat(config, parts_of_lists=True)
        if not is_neutral(name)
        and name not in REPLICATE_SETTINGS
        and not is_place(name)
        # Of other groups the option says which class it is; of callbacks there may be several, by any name.
        and (name.rsplit(".", 1)[-1] not in ("_target_", "_partial_") or name.startswith("callbacks."))
        and value != {}
        and not (value == [] and name.startswith("augmentation."))  # no augmentation was an empty list once
    }
    return chosen | dict(sorted(told.items()))


def fingerprint(manifest: "pd.DataFrame", hashes: "np.ndarray", targets: "np.ndarray | None" = None) -> str:
    """A digest of which frames there are, of what, in which subset, and of how they look, wherever the corpus lies.

    Args:
        manifest: N rows, one a frame, in the order in which they are used, with its ``split``.
        hashes: perceptual hash of each face, uint8 (N, 32) (:func:`fervid.audit.duplicates.hash_picture`).
        targets: the numbers that are learned, one row a sample, if they are not the column ``emotion``.
    """
    import pandas as pd  # not above: --help and settings alone need none

    digest = hashlib.sha256()
    for column in FINGERPRINTED:
        values = manifest[column]
        text = values.astype(str).where(values.notna(), "").astype(object)
        digest.update(pd.util.hash_pandas_object(text, index=False).to_numpy().tobytes())
    digest.update(hashes.tobytes())
    if targets is not None:
        digest.update(f"{targets.dtype.str} {targets.shape}".encode() + targets.tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class RunIdentity:
    """What tells whether two runs are the same.

    Attributes:
        settings: of :func:`run_settings`.
        places: the absolute paths of places (:func:`is_place`) by name, where they are given.
        fingerprint: of the data; None where it is not known.
    """

    settings: dict[str, Any]
    places: dict[str, str]
    fingerprint: str | None = None

    @classmethod
    def of(
        cls, config: Mapping[str, Any], fingerprint: str | None = None, places: dict[str, str] | None = None
    ) -> "RunIdentity":
        """Of a run that is described by its configuration, in plain containers.

        Args:
            config: as for :func:`run_settings`.
            fingerprint: of its data, if known.
            places: of a run that was started in another folder, as it saw them; None: as this process sees them.
        """
        if places is not None:
            return cls(run_settings(config), places, fingerprint)
        given = {name: value for name, value in _flat(config) if is_place(name) and value is not None}
        here = {name: str(Path(str(value)).expanduser().resolve()) for name, value in given.items()}
        return cls(run_settings(config), here, fingerprint)

    def changed_settings(self, before: "RunIdentity") -> list[str]:
        """The settings that are not as in an earlier run, as ``optimizer.lr=0.01 (was 0.001)``, sorted."""
        names = sorted(self.settings.keys() | before.settings.keys())
        one, other = ([json.dumps(run.settings.get(name)) for name in names] for run in (self, before))
        told = zip(names, one, other, strict=True)
        return [f"{name}={value} (was {earlier})" for name, value, earlier in told if value != earlier]

    def is_same(self, other: "RunIdentity") -> bool:
        """Whether another run has the same settings and data: what lies in one place may have changed.

        Where the fingerprint of one of them is not known, the same places are taken for the same data.
        """
        if self.fingerprint is None or other.fingerprint is None:
            return self.settings == other.settings and self.places == other.places
        return self.settings == other.settings and self.fingerprint == other.fingerprint


def _flat(config: Mapping[str, Any], prefix: str = "", *, parts_of_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """The values of nested settings by their dotted names.

    Args:
        config: the settings.
        prefix: before each name.
        parts_of_lists: whether lists of settings are taken apart, too, by their numbers.
    """
    for name, value in config.items():
        full = f"{prefix}{name}"
        if isinstance(value, list) and parts_of_lists and value and all(isinstance(part, dict) for part in value):
            value = {str(number): part for number, part in enumerate(value)}
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{full}.", parts_of_lists=parts_of_lists)
        else:
            yield full, value
