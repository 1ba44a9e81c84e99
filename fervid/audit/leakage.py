"""What stands on two sides of a split, and what its scores can therefore say."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations, islice
from typing import Any

import numpy as np
import pandas as pd

from fervid.schema.columns import REPETITION, SPOKEN, Role, columns_of, corpora, keys
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.manifest import SPLITS
from fervid.schema.names import doubts

# What pairs of clips have in common that differ only in their repetition or statement, of what a corpus knows.
COMMON = ["corpus", "subject", "emotion", *columns_of(Role.CONDITION)]


@dataclass(frozen=True)
class Finding:
    """One kind of thing that should stand on one side.

    Attributes:
        count: how many stand on two sides.
        total: how many there are.
        examples: the first few that stand on two sides, each a dict of numbers and words.
    """

    count: int
    total: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Audit:
    """What stands on more than one side of a split.

    A side is ``train``, ``val`` or ``test``; what stands on several is named with all of them, ``test+train``. Two
    clips stand on two sides unless all their frames stand on one. A kind that the corpus has no column for is None.

    Attributes:
        subjects: people, of those that are known.
        clips: recordings.
        recordings: recordings that the corpus has as several clips, such as with sound and as video only.
        repetitions: pairs of clips of one person that differ only in their repetition.
        statements: pairs of clips of one person that differ only in what is said.
        near_duplicates: pairs of clips with pictures that look the same; None where nobody looked. Its examples
            have ``row_a`` and ``row_b``, rows of the manifest; those of different or unknown subjects come first, then
            the closest.
        unknown_subjects: those of the near-duplicates on two sides that show different or unknown people.
        subjects_known: whether every frame says who is seen.
        subjects_from: where subjects come from if nobody has verified that each of their names is one person; None
            where the corpus itself says who is who.
        doubts: what speaks against these names, one sentence each.
        clips_known: whether the corpus knows which frames belong together; else every frame is a clip of its own.
    """

    subjects: Finding
    clips: Finding
    recordings: Finding | None = None
    repetitions: Finding | None = None
    statements: Finding | None = None
    near_duplicates: Finding | None = None
    unknown_subjects: int = 0
    subjects_known: bool = True
    clips_known: bool = True
    subjects_from: str | None = None
    doubts: list[str] = field(default_factory=list)

    @property
    def level(self) -> LeakageLevel:
        """How far the scores carry.

        ``leaky``: the same recording or picture is trained and tested on, or may be: people are shared and nobody
        knows which frames belong together. ``subject-dependent``: only people are shared. ``unknown-subjects``: nothing
        is, as far as is known. ``subject-independent by name``: nothing is, if each name of a subject is one person,
        which nobody has verified: names were found in file names or in a table. ``subject-independent``: nothing is.
        """
        recordings = self.recordings.count if self.recordings else 0
        if self.clips.count or recordings or self.unknown_subjects or (self.subjects.count and not self.clips_known):
            return LeakageLevel.LEAKY
        if self.subjects.count:
            return LeakageLevel.SUBJECT_DEPENDENT
        if not self.subjects_known:
            return LeakageLevel.UNKNOWN_SUBJECTS
        if self.subjects_from:
            return LeakageLevel.SUBJECT_INDEPENDENT_BY_NAME
        return LeakageLevel.SUBJECT_INDEPENDENT

    def as_dict(self) -> dict[str, Any]:
        """The level and everything found, of plain containers, for ``results.json``."""
        return {"level": self.level.value, **asdict(self)}

    def sentence(self) -> str | None:
        """For the log: what the subsets share, what follows from it, what to do, and why names are doubted.

        None if nothing is to be said.
        """
        said = [sentence for sentence in (self._about_the_split(), *self.doubts) if sentence]
        return " ".join([*said[:1], *(sentence[0].upper() + sentence[1:] for sentence in said[1:])]) or None

    def _about_the_split(self) -> str | None:
        level = self.level
        if level is LeakageLevel.SUBJECT_INDEPENDENT:
            return None
        if level is LeakageLevel.SUBJECT_INDEPENDENT_BY_NAME:
            return (
                f"subjects come from {self.subjects_from}: the split is subject-independent only if each name is one "
                "person, which fervid cannot verify."
            )
        if level is LeakageLevel.UNKNOWN_SUBJECTS:
            return (
                "who is seen is unknown, so nobody knows whether the same people stand on several sides of the split; "
                "of files of your own dataset.subject_pattern or a CSV can say it."
            )
        kinds = [
            (self.subjects, "people"),
            (self.clips, "clips"),
            (self.recordings, "recordings kept as several clips"),
        ]
        shared = [f"{found.count} of {found.total} {name}" for found, name in kinds if found and found.count]
        if self.unknown_subjects:
            shared.append(
                f"{self.unknown_subjects} pair(s) of clips that look the same but are not known to show one person"
            )
        if self.subjects.count:
            advice = "split=subject keeps people apart"
        elif self.subjects_known:
            advice = "look whether they are copies to leave out or one person under two names"
        else:
            advice = "split=clips keeps clips that belong or look together on one side"
        what = "leaks" if level is LeakageLevel.LEAKY else "shares people"
        return (
            f"this split {what}: {' and '.join(shared)} stand on more "
            f"than one side, so the scores promise too much for people never seen; {advice}."
        )


def audit(
    manifest: pd.DataFrame,
    pairs: pd.DataFrame | None = None,
    *,
    subjects_from: str | None = None,
    verified: Collection[str] = (),
    examples: int = 5,
) -> Audit:
    """Looks for everything that stands on more than one side of a split.

    Args:
        manifest: one row a frame, with its ``split``; of several corpora the examples say which, too.
        pairs: near-duplicates (:func:`fervid.audit.duplicates.near_duplicates`), their rows positions in the
            manifest; None if nobody looked for them.
        subjects_from: see :class:`Audit`.
        verified: corpora whose subjects are not in doubt all the same.
        examples: how many of each kind to tell in full.

    Examples:
        >>> import pandas as pd
        >>> manifest = pd.DataFrame({
        ...     "corpus": "mine",
        ...     "subject": ["Ann", "Ann", "Bob", "Bob"],
        ...     "clip": ["a1", "a1", "b1", "b2"],
        ...     "emotion": ["happy", "happy", "sad", "happy"],
        ...     "split": ["train", "train", "val", "test"],
        ... })
        >>> found = audit(manifest)
        >>> found.level.value, found.subjects.count
        ('subject-dependent', 1)
    """
    clip = keys(manifest, "clip")
    sides = clip.map(_sides_of_clips(clip, manifest["split"]))
    clips = manifest.assign(sides=sides)[~clip.duplicated()]
    near, unknown_subjects = (None, 0) if pairs is None else _near_duplicates(manifest, sides, pairs, examples)
    return Audit(
        subjects=_shared(manifest, "subject", ["subject"], examples),
        clips=_shared(manifest, "clip", ["clip", "subject", "emotion"], examples),
        recordings=_recordings(manifest, sides, examples) if "recording" in manifest else None,
        repetitions=_varied(clips, REPETITION, examples),
        statements=_varied(clips, SPOKEN, examples),
        near_duplicates=near,
        unknown_subjects=unknown_subjects,
        subjects_known=bool(manifest["subject"].notna().all()),
        clips_known=clip.nunique() < len(manifest),
        subjects_from=subjects_from,
        doubts=doubts(manifest[~manifest["corpus"].isin(verified)]) if subjects_from else [],
    )


def worst_pairs(manifest: pd.DataFrame, found: Audit, most: int = 6) -> list[tuple[int, int, str]]:
    """Pairs of frames that show what leaks: near-duplicates, then one clip, then one person on two sides.

    Args:
        manifest: the audited one.
        found: what :func:`audit` found in it.
        most: how many pairs at most.

    Returns:
        Row of the one frame, row of the other, and what they are.
    """
    near = found.near_duplicates.examples if found.near_duplicates else []
    pairs = [
        (
            pair["row_a"],
            pair["row_b"],
            f"{'mirrored ' if pair['mirrored'] else ''}near-duplicates, {pair['distance']} of 256 bits apart",
        )
        for pair in near
        if manifest["split"][pair["row_a"]] != manifest["split"][pair["row_b"]]  # their clips may be on two, not they
    ]
    for column, kind, words in (("clip", found.clips, "one clip"), ("subject", found.subjects, "one person")):
        for example in kind.examples:
            known = [name for name in ("corpus", column) if name in example]
            frames = manifest[(manifest[known] == [example[name] for name in known]).all(axis=1)]
            first = frames.drop_duplicates("split").sort_values("split", key=lambda side: side.map(SPLITS.index))
            pairs.append((int(first.index[0]), int(first.index[-1]), f"{words} on two sides"))
    return pairs[:most]


def _sides_of_clips(clips: pd.Series, splits: pd.Series) -> pd.Series:
    """The sides each clip stands on, by its key: ``train``, ``test+train``."""
    known = clips.notna() & splits.notna()
    clip, names = pd.factorize(clips[known], sort=True)
    side, subsets = pd.factorize(splits[known], sort=True)
    there = np.zeros((len(names), len(subsets)), dtype=bool)
    there[clip, side] = True
    kinds, kind = np.unique(there, axis=0, return_inverse=True)
    words = np.array(["+".join(subsets[on]) for on in kinds], dtype=object)
    return pd.Series(words[kind.ravel()], index=names)


def _shared(manifest: pd.DataFrame, column: str, told: list[str], examples: int) -> Finding:
    """Counts the subjects or clips whose frames stand on several sides."""
    names = keys(manifest, column)
    sides = manifest["split"].groupby(names).nunique()
    apart = sides.index[sides > 1]
    tales = []
    for name in apart[:examples]:
        frames = manifest[names == name]
        about = _plain(frames[_with_corpus(manifest, told)].head(1))[0]
        tales += [{**about, "frames": frames["split"].value_counts().to_dict()}]
    return Finding(len(apart), len(sides), tales)


def _with_corpus(manifest: pd.DataFrame, told: list[str]) -> list[str]:
    """The columns that an example tells of, and where there are several corpora, which it is from."""
    return ["corpus", *told] if len(corpora(manifest)) > 1 else told


def _recordings(manifest: pd.DataFrame, sides: pd.Series, examples: int) -> Finding:
    names = keys(manifest, "recording")
    recordings = manifest.groupby(names)[["clip", "split"]].nunique()
    several = recordings[recordings["clip"] > 1]
    apart = several.index[several["split"] > 1]
    tales = []
    for name in apart[:examples]:
        clips = manifest.assign(sides=sides)[names == name].drop_duplicates("clip")
        about = _plain(clips[_with_corpus(manifest, ["recording"])].head(1))[0]
        tales += [{**about, "clips": dict(zip(clips["clip"], clips["sides"], strict=True))}]
    return Finding(len(apart), len(several), tales)


def _varied(clips: pd.DataFrame, columns: Sequence[str], examples: int) -> Finding | None:
    """Counts the pairs of clips that differ in one column only: never by listing them, they may be millions."""
    present = [column for column in columns if column in clips]
    if not present:
        return None
    total, count = 0, 0
    tales: list[dict[str, Any]] = []
    for column in present:  # corpora have words of their own for what is said
        known = clips.dropna(subset=["subject", column])
        common = [name for name in COMMON if name in clips and name != column]
        pairs = _count_pairs(known, common, column)
        apart = pairs - _count_pairs(known[~_several(known["sides"])], [*common, "sides"], column)
        total, count = total + pairs, count + apart
        tales += islice(_pairs_apart(known, common, column), min(apart, examples))
    return Finding(count, total, tales[:examples])


def _count_pairs(clips: pd.DataFrame, common: list[str], column: str) -> int:
    """Pairs of rows that agree in ``common`` and differ in ``column``."""
    alike = clips.groupby(common, dropna=False).size()
    same = clips.groupby([*common, column], dropna=False).size()
    return int((alike * (alike - 1) // 2).sum() - (same * (same - 1) // 2).sum())


def _pairs_apart(clips: pd.DataFrame, common: list[str], column: str) -> Iterator[dict[str, Any]]:
    """Tells one pair of each group that agrees in ``common`` and has pairs that stand on two sides."""
    for _, alike in clips.groupby(common, dropna=False):
        # Only groups that hold such a pair are searched: the search then ends soon.
        if alike[column].nunique() > 1 and (alike["sides"].nunique() > 1 or _several(alike["sides"]).any()):
            rows = _plain(alike[["clip", column, "sides"]])
            pairs = ((a, b) for a, b in combinations(rows, 2) if a[column] != b[column])
            a, b = next((a, b) for a, b in pairs if a["sides"] != b["sides"] or "+" in a["sides"])
            about = _plain(alike[_with_corpus(clips, ["subject", "emotion"])].head(1))[0]
            yield about | {f"{key}_a": a[key] for key in a} | {f"{key}_b": b[key] for key in b}


def _near_duplicates(
    manifest: pd.DataFrame, sides: pd.Series, pairs: pd.DataFrame, examples: int
) -> tuple[Finding, int]:
    seen = manifest[_with_corpus(manifest, ["clip", "subject", "emotion"])].assign(sides=sides)
    ends = [seen.iloc[pairs[f"row_{end}"]].reset_index(drop=True).add_suffix(f"_{end}") for end in "ab"]
    table = pd.concat([pairs.reset_index(drop=True), *ends], axis=1)
    subject = pd.factorize(keys(manifest, "subject"))[0]  # -1 where it is unknown
    a, b = (subject[pairs[f"row_{end}"]] for end in "ab")
    table["unknown_subjects"] = (a != b) | (a < 0)
    apart = table[(table["sides_a"] != table["sides_b"]) | _several(table["sides_a"])]
    worst = apart.sort_values(["unknown_subjects", "distance"], ascending=[False, True], kind="stable")
    return Finding(len(apart), len(table), _plain(worst.head(examples))), int(apart["unknown_subjects"].sum())


def _several(sides: pd.Series) -> pd.Series:
    return sides.str.contains("+", regex=False).astype(bool)


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict a row, of Python's own numbers and words, None where a value is missing: JSON has no other."""
    return [
        {str(column): value for column, value in row.items()}
        for row in rows.astype(object).where(rows.notna(), None).to_dict("records")
    ]
