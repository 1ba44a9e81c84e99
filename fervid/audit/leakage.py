"""What several subsets of a split share, and what its scores therefore mean."""

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

# Columns in which a pair must agree to count as differing only in its repetition or statement.
COMMON = ["corpus", "subject", "emotion", *columns_of(Role.CONDITION)]


@dataclass(frozen=True)
class Finding:
    """Result for one kind of item, such as subjects or clips, that should be in a single subset.

    Attributes:
        count: number of items in more than one subset.
        total: number of items.
        examples: the first few items in more than one subset, each a dict of plain values.
    """

    count: int
    total: int
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Audit:
    """Everything that is in more than one subset of a split.

    A subset is ``train``, ``val`` or ``test``. An item in several subsets is labelled with all of them, such as
    ``test+train``. A pair of clips is in a single subset only if all frames of both clips are. A finding is None if the
    corpus lacks its column.

    Attributes:
        subjects: known subjects.
        clips: clips.
        recordings: recordings that the corpus has as several clips, such as with sound and as video only.
        repetitions: pairs of clips of one subject that differ only in their repetition.
        statements: pairs of clips of one subject that differ only in what is said.
        near_duplicates: pairs of clips with near-duplicate pictures; None if they were not searched. Its examples have
            ``row_a`` and ``row_b``, rows of the manifest; pairs of different or unknown subjects come first, then the
            closest.
        unknown_subjects: number of near-duplicates in more than one subset that show different or unknown subjects.
        people: names, or clips of unknown subjects, that face embeddings join to one person; None if they were not
            compared. They do not affect the level, since look-alikes are among them.
        identity: threshold, error rates and weights of that comparison; None if there was none.
        subjects_clustered: whether the subjects are clusters of face embeddings.
        subjects_known: whether every frame has a subject.
        subjects_from: where the names of subjects come from if nobody has verified that each name is one person; None
            if the corpus itself identifies its subjects.
        doubts: reasons to doubt these names, one sentence each.
        clips_known: whether the corpus defines which frames form a clip; if not, every frame is its own clip.
    """

    subjects: Finding
    clips: Finding
    recordings: Finding | None = None
    repetitions: Finding | None = None
    statements: Finding | None = None
    near_duplicates: Finding | None = None
    unknown_subjects: int = 0
    people: Finding | None = None
    identity: dict[str, Any] | None = None
    subjects_clustered: bool = False
    subjects_known: bool = True
    clips_known: bool = True
    subjects_from: str | None = None
    doubts: list[str] = field(default_factory=list)

    @property
    def level(self) -> LeakageLevel:
        """How well the scores generalise to new people.

        - ``leaky``: subsets share recordings or pictures, or may do so, because they share subjects and the clips are
          unknown.
        - ``subject-dependent``: subsets share only subjects.
        - ``unknown-subjects``: subsets share nothing that is known, but the subjects are unknown.
        - ``subject-independent by clustering``: subsets share no cluster of face embeddings.
        - ``subject-independent by name``: subsets share no subject name, but the names come from file names or a table
          and nobody has verified that each name is one person.
        - ``subject-independent``: subsets share nothing.
        """
        recordings = self.recordings.count if self.recordings else 0
        if self.clips.count or recordings or self.unknown_subjects:
            return LeakageLevel.LEAKY
        if self.subjects_clustered and not self.subjects.count:
            return LeakageLevel.SUBJECT_INDEPENDENT_BY_CLUSTERING
        # Two pictures of a cluster need not be from one recording, nor certainly of one person.
        if self.subjects.count and not (self.clips_known or self.subjects_clustered):
            return LeakageLevel.LEAKY
        if self.subjects.count:
            return LeakageLevel.SUBJECT_DEPENDENT
        if not self.subjects_known:
            return LeakageLevel.UNKNOWN_SUBJECTS
        if self.subjects_from:
            return LeakageLevel.SUBJECT_INDEPENDENT_BY_NAME
        return LeakageLevel.SUBJECT_INDEPENDENT

    def as_dict(self) -> dict[str, Any]:
        """Returns the level and all findings as plain containers, for ``results.json``."""
        return {"level": self.level.value, **asdict(self)}

    def sentence(self) -> str | None:
        """Returns a warning for the log: what subsets share, the consequence, the remedy and doubts about names.

        None if there is nothing to warn of.
        """
        sentences = [text for text in (self._split_warning(), self._people_warning(), *self.doubts) if text]
        return " ".join([*sentences[:1], *(text[0].upper() + text[1:] for text in sentences[1:])]) or None

    def _people_warning(self) -> str | None:
        if not self.people or not self.people.count or self.subjects_clustered:
            return None
        return (
            f"by their faces, {self.people.total} person(s) have several names, and {self.people.count} of them are in "
            "more than one subset; look at identity.png of python -m fervid.audit, or use split=identity to keep them "
            "in one subset."
        )

    def _split_warning(self) -> str | None:
        level = self.level
        if level is LeakageLevel.SUBJECT_INDEPENDENT_BY_CLUSTERING:
            return (
                "subjects are clusters of face embeddings: the split is subject-independent as far as the clustering "
                "is right."
            )
        if level is LeakageLevel.SUBJECT_INDEPENDENT:
            return None
        if level is LeakageLevel.SUBJECT_INDEPENDENT_BY_NAME:
            return (
                f"subjects come from {self.subjects_from}: the split is subject-independent only if each name is one "
                "person, which fervid cannot verify."
            )
        if level is LeakageLevel.UNKNOWN_SUBJECTS:
            return (
                "subjects are unknown, so several subsets may show the same people; use split=identity "
                "identity=<face weights> or, for your own files, dataset.subject_pattern or a CSV with the column "
                "subject."
            )
        kinds = [
            (self.subjects, "subjects"),
            (self.clips, "clips"),
            (self.recordings, "recordings kept as several clips"),
        ]
        shared = [f"{found.count} of {found.total} {name}" for found, name in kinds if found and found.count]
        if self.unknown_subjects:
            shared.append(f"{self.unknown_subjects} pair(s) of clips that look the same but may show different people")
        if self.subjects_clustered:
            advice = "use split=identity to keep clusters in one subset"
        elif self.subjects.count:
            advice = "use split=subject to keep subjects in one subset"
        elif self.subjects_known:
            advice = "check whether they are copies to exclude, or one person under two names"
        else:
            advice = "use split=clips to keep clips of one recording or near-duplicates in one subset"
        problem = "leaks" if level is LeakageLevel.LEAKY else "is subject-dependent"
        return (
            f"this split {problem}: {' and '.join(shared)} are in more than one subset, so the scores are too "
            f"optimistic for people never seen in training; {advice}."
        )


def audit(
    manifest: pd.DataFrame,
    pairs: pd.DataFrame | None = None,
    *,
    people: pd.DataFrame | None = None,
    identity: dict[str, Any] | None = None,
    subjects_clustered: bool = False,
    subjects_from: str | None = None,
    verified: Collection[str] = (),
    examples: int = 5,
) -> Audit:
    """Finds everything that is in more than one subset of a split.

    Args:
        manifest: one row per frame, with its ``split``. For several corpora, examples include the corpus.
        pairs: near-duplicates from :func:`fervid.audit.duplicates.near_duplicates`, with positions in the manifest;
            None if they were not searched.
        people: names of one person from :func:`fervid.audit.identity.same_people`; None if they were not searched.
        identity: see :class:`Audit`.
        subjects_clustered: see :class:`Audit`.
        subjects_from: see :class:`Audit`.
        verified: corpora whose subjects are verified in spite of ``subjects_from``.
        examples: maximum number of examples per finding.

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
    subsets = clip.map(_subsets_of_clips(clip, manifest["split"]))
    clips = manifest.assign(subsets=subsets)[~clip.duplicated()]
    near, unknown_subjects = (None, 0) if pairs is None else _near_duplicates(manifest, subsets, pairs, examples)
    return Audit(
        subjects=_shared(manifest, "subject", ["subject"], examples),
        clips=_shared(manifest, "clip", ["clip", "subject", "emotion"], examples),
        recordings=_recordings(manifest, subsets, examples) if "recording" in manifest else None,
        repetitions=_varied(clips, REPETITION, examples),
        statements=_varied(clips, SPOKEN, examples),
        near_duplicates=near,
        unknown_subjects=unknown_subjects,
        people=None if people is None else _people(people, examples),
        identity=identity,
        subjects_clustered=subjects_clustered,
        subjects_known=bool(manifest["subject"].notna().all()),
        clips_known=clip.nunique() < len(manifest),
        subjects_from=subjects_from,
        doubts=doubts(manifest[~manifest["corpus"].isin(verified)]) if subjects_from else [],
    )


def worst_pairs(manifest: pd.DataFrame, found: Audit, limit: int = 6) -> list[tuple[int, int, str]]:
    """Returns pairs of frames in different subsets that show the leaks, worst first.

    Near-duplicates come first, then frames of one clip, then frames of one subject.

    Args:
        manifest: the audited manifest.
        found: result of :func:`audit` for it.
        limit: maximum number of pairs.

    Returns:
        The rows of both frames and a description for each pair.
    """
    near = found.near_duplicates.examples if found.near_duplicates else []
    pairs = [
        (
            pair["row_a"],
            pair["row_b"],
            f"{'mirrored ' if pair['mirrored'] else ''}near-duplicates, {pair['distance']} of 256 bits apart",
        )
        for pair in near
        if manifest["split"][pair["row_a"]] != manifest["split"][pair["row_b"]]  # clips may be shared, frames not
    ]
    for column, finding in (("clip", found.clips), ("subject", found.subjects)):
        for example in finding.examples:
            names = [name for name in ("corpus", column) if name in example]
            frames = manifest[(manifest[names] == [example[name] for name in names]).all(axis=1)]
            first = frames.drop_duplicates("split").sort_values("split", key=lambda subset: subset.map(SPLITS.index))
            pairs.append((int(first.index[0]), int(first.index[-1]), f"one {column} in two subsets"))
    return pairs[:limit]


def _subsets_of_clips(clips: pd.Series, splits: pd.Series) -> pd.Series:
    """Returns the subsets of each clip, indexed by its key, such as ``train`` or ``test+train``."""
    known = clips.notna() & splits.notna()
    clip, names = pd.factorize(clips[known], sort=True)
    subset, labels = pd.factorize(splits[known], sort=True)
    present = np.zeros((len(names), len(labels)), dtype=bool)
    present[clip, subset] = True
    combinations_found, index = np.unique(present, axis=0, return_inverse=True)
    words = np.array(["+".join(labels[row]) for row in combinations_found], dtype=object)
    return pd.Series(words[index.ravel()], index=names)


def _shared(manifest: pd.DataFrame, column: str, shown: list[str], examples: int) -> Finding:
    """Counts the subjects or clips whose frames are in several subsets; examples have the columns ``shown``."""
    names = keys(manifest, column)
    subsets = manifest["split"].groupby(names).nunique()
    shared = subsets.index[subsets > 1]
    described = []
    for name in shared[:examples]:
        frames = manifest[names == name]
        about = _plain(frames[_with_corpus(manifest, shown)].head(1))[0]
        described += [{**about, "frames": frames["split"].value_counts().to_dict()}]
    return Finding(len(shared), len(subsets), described)


def _with_corpus(manifest: pd.DataFrame, columns: list[str]) -> list[str]:
    """Adds the column ``corpus`` if the manifest has several corpora."""
    return ["corpus", *columns] if len(corpora(manifest)) > 1 else columns


def _recordings(manifest: pd.DataFrame, subsets: pd.Series, examples: int) -> Finding:
    names = keys(manifest, "recording")
    recordings = manifest.groupby(names)[["clip", "split"]].nunique()
    several = recordings[recordings["clip"] > 1]
    shared = several.index[several["split"] > 1]
    described = []
    for name in shared[:examples]:
        clips = manifest.assign(subsets=subsets)[names == name].drop_duplicates("clip")
        about = _plain(clips[_with_corpus(manifest, ["recording"])].head(1))[0]
        described += [{**about, "clips": dict(zip(clips["clip"], clips["subsets"], strict=True))}]
    return Finding(len(shared), len(several), described)


def _varied(clips: pd.DataFrame, columns: Sequence[str], examples: int) -> Finding | None:
    """Counts the pairs of clips that differ only in one column, without listing them: there may be millions."""
    present = [column for column in columns if column in clips]
    if not present:
        return None
    total, count = 0, 0
    described: list[dict[str, Any]] = []
    for column in present:  # corpora name the spoken text differently
        known = clips.dropna(subset=["subject", column])
        common = [name for name in COMMON if name in clips and name != column]
        pairs = _count_pairs(known, common, column)
        shared = pairs - _count_pairs(known[~_several(known["subsets"])], [*common, "subsets"], column)
        total, count = total + pairs, count + shared
        described += islice(_shared_pairs(known, common, column), min(shared, examples))
    return Finding(count, total, described[:examples])


def _count_pairs(clips: pd.DataFrame, common: list[str], column: str) -> int:
    """Counts pairs of rows that agree in ``common`` and differ in ``column``."""
    alike = clips.groupby(common, dropna=False).size()
    same = clips.groupby([*common, column], dropna=False).size()
    return int((alike * (alike - 1) // 2).sum() - (same * (same - 1) // 2).sum())


def _shared_pairs(clips: pd.DataFrame, common: list[str], column: str) -> Iterator[dict[str, Any]]:
    """Yields one pair in two subsets for each group of clips that agree in ``common`` and has such a pair."""
    for _, alike in clips.groupby(common, dropna=False):
        # Only groups with such a pair are searched, so the search ends early.
        if alike[column].nunique() > 1 and (alike["subsets"].nunique() > 1 or _several(alike["subsets"]).any()):
            rows = _plain(alike[["clip", column, "subsets"]])
            pairs = ((a, b) for a, b in combinations(rows, 2) if a[column] != b[column])
            a, b = next((a, b) for a, b in pairs if a["subsets"] != b["subsets"] or "+" in a["subsets"])
            about = _plain(alike[_with_corpus(clips, ["subject", "emotion"])].head(1))[0]
            yield about | {f"{key}_a": a[key] for key in a} | {f"{key}_b": b[key] for key in b}


def _near_duplicates(
    manifest: pd.DataFrame, subsets: pd.Series, pairs: pd.DataFrame, examples: int
) -> tuple[Finding, int]:
    frames = manifest[_with_corpus(manifest, ["clip", "subject", "emotion"])].assign(subsets=subsets)
    ends = [frames.iloc[pairs[f"row_{end}"]].reset_index(drop=True).add_suffix(f"_{end}") for end in "ab"]
    table = pd.concat([pairs.reset_index(drop=True), *ends], axis=1)
    subject = pd.factorize(keys(manifest, "subject"))[0]  # -1 where it is unknown
    a, b = (subject[pairs[f"row_{end}"]] for end in "ab")
    table["unknown_subjects"] = (a != b) | (a < 0)
    shared = table[(table["subsets_a"] != table["subsets_b"]) | _several(table["subsets_a"])]
    worst = shared.sort_values(["unknown_subjects", "distance"], ascending=[False, True], kind="stable")
    return Finding(len(shared), len(table), _plain(worst.head(examples))), int(shared["unknown_subjects"].sum())


def _people(pairs: pd.DataFrame, examples: int) -> Finding:
    """Counts the persons with several names and those of them in several subsets."""
    crossing = pairs[(pairs["subsets_a"] != pairs["subsets_b"]) | _several(pairs["subsets_a"])]
    shown = crossing.drop_duplicates("person").head(examples)
    return Finding(int(crossing["person"].nunique()), int(pairs["person"].nunique()), _plain(shown))


def _several(subsets: pd.Series) -> pd.Series:
    return subsets.str.contains("+", regex=False).astype(bool)


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns one dict per row with plain Python values and None for missing values, as JSON needs."""
    return [
        {str(column): value for column, value in row.items()}
        for row in rows.astype(object).where(rows.notna(), None).to_dict("records")
    ]
