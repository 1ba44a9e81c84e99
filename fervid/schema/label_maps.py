"""Aligns the emotion labels of several corpora."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fervid.errors import InputError
from fervid.schema.columns import VOTES
from fervid.schema.emotions import shared_name

NOT_SHARED = ("drop", "keep")


class LabelMap:
    """Maps the labels of several corpora to common names and selects the emotions to use.

    Without further settings, labels are mapped to their shared names (:func:`fervid.schema.emotions.shared_name`).

    Args:
        declared: entries ``label: new label`` for all corpora, and ``corpus: {label: new label}`` for one, which come
            first. The new label None drops the label. Labels are compared by their shared names.
        emotions: new labels to use; None: all.
        not_shared: ``drop`` to use only labels that all corpora have, or ``keep``.

    Raises:
        InputError: if a setting is invalid.

    Examples:
        >>> one = pd.DataFrame({"corpus": "one", "emotion": ["happiness", "sadness", "calm"]})
        >>> two = pd.DataFrame({"corpus": "two", "emotion": ["Happy", "Neutral"]})
        >>> tables, report = LabelMap({"calm": "neutral"}).align([one, two])
        >>> tables[0]["emotion"].tolist(), tables[1]["emotion"].tolist()
        (['happy', 'neutral'], ['happy', 'neutral'])
        >>> report[["corpus", "label", "mapped_to"]].to_numpy().tolist()[2]
        ['one', 'sadness', None]
    """

    def __init__(
        self,
        declared: Mapping[str, Any] | None = None,
        emotions: Sequence[str] | None = None,
        not_shared: str = "drop",
    ):
        if not_shared not in NOT_SHARED:
            raise InputError(f"dataset.not_shared={not_shared} is unknown: choose drop or keep.")
        if isinstance(emotions, str):
            raise InputError(f"dataset.emotions={emotions} is not a list: give a list such as [happy,sad].")
        entries = dict(declared or {})
        self.by_corpus = {str(name): _checked(each) for name, each in entries.items() if isinstance(each, Mapping)}
        self.common = _checked({name: each for name, each in entries.items() if not isinstance(each, Mapping)})
        self.emotions = None if emotions is None else [shared_name(str(name)) for name in emotions]
        self.not_shared = not_shared

    def align(self, tables: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], pd.DataFrame]:
        """Maps the column ``emotion`` and the columns of votes; drops the rows of labels that are not used.

        Args:
            tables: rows of each corpus. If some corpora have votes, each label of the others counts as votes of ten
                people for it.

        Returns:
            The tables with the new labels, and one row per label of a corpus: ``corpus``, ``label``, ``mapped_to``
            (None if its rows were dropped), ``frames`` and ``reason``, why they were dropped.

        Raises:
            InputError: if a declared corpus or label does not exist, or fewer than two emotions are left.
        """
        names = [str(table["corpus"].iloc[0]) for table in tables]
        self._check_names(names, tables)
        new: list[pd.Series] = [
            table["emotion"].map(lambda label, name=name: self._new(name, label))
            for name, table in zip(names, tables, strict=True)
        ]
        found = [set(labels.dropna()) for labels in new]
        used = set.intersection(*found) if self.not_shared == "drop" else set.union(*found)
        if self.emotions is not None:
            if absent := sorted(set(self.emotions) - set.union(*found)):
                raise InputError(
                    f"dataset.emotions has {absent[0]!r}, which is no label of {', '.join(names)}: choose among "
                    f"{', '.join(sorted(set.union(*found)))}."
                )
            used &= set(self.emotions)
        if len(used) < 2:
            labels = "; ".join(f"{name} has {', '.join(sorted(each))}" for name, each in zip(names, found, strict=True))
            raise InputError(
                f"the corpora share {'no emotion' if not used else f'only {min(used)}'}, but at least two are needed: "
                f"{labels}. Map labels with dataset.label_map, or set dataset.not_shared=keep."
            )
        report = [
            {
                "corpus": name,
                "label": str(label),
                "mapped_to": mapped if mapped in used else None,
                "frames": int(count),
                "reason": self._reason(mapped, used),
            }
            for name, table in zip(names, tables, strict=True)
            for label, count in table["emotion"].value_counts().sort_index().items()
            for mapped in [self._new(name, str(label))]
        ]
        aligned = []
        for table, renamed in zip(tables, new, strict=True):
            kept = renamed.isin(used).to_numpy()
            aligned.append(table.assign(emotion=renamed)[kept].reset_index(drop=True))
        if any(_votes(table) for table in tables):
            aligned = [self._with_votes(*each, sorted(used)) for each in zip(aligned, names, strict=True)]
            columns = list(dict.fromkeys(column for table in aligned for column in _votes(table)))
            aligned = [table.assign(**{name: 0 for name in columns if name not in table}) for table in aligned]
        table = pd.DataFrame(report)
        # None instead of NaN, which results.json does not have.
        return aligned, table.assign(
            mapped_to=table["mapped_to"].astype(object).where(table["mapped_to"].notna(), None)
        )

    def _new(self, corpus: str, label: str) -> str | None:
        name = shared_name(str(label))
        for entries in (self.by_corpus.get(corpus, {}), self.common):
            if name in entries:
                return entries[name]
        return name

    def _reason(self, mapped: str | None, used: set[str]) -> str:
        if mapped in used:
            return ""
        if mapped is None:
            return "label_map"
        return "not in emotions" if self.emotions is not None and mapped not in self.emotions else "not in all corpora"

    def _check_names(self, names: Sequence[str], tables: Sequence[pd.DataFrame]) -> None:
        if unknown := sorted(set(self.by_corpus) - set(names)):
            raise InputError(f"dataset.label_map has {unknown[0]!r}, which is no corpus: choose {', '.join(names)}.")
        labels = [{shared_name(str(label)) for label in table["emotion"].unique()} for table in tables]
        scopes = [*((self.by_corpus.get(name, {}), each, name) for name, each in zip(names, labels, strict=True))]
        for entries, known, where in [*scopes, (self.common, set.union(*labels), " and ".join(names))]:
            if absent := sorted(set(entries) - known):
                raise InputError(
                    f"dataset.label_map has {absent[0]!r}, which is no label of {where}: choose among "
                    f"{', '.join(sorted(known))}."
                )

    def _with_votes(self, table: pd.DataFrame, corpus: str, used: Sequence[str]) -> pd.DataFrame:
        """Returns a table with a column of votes for each emotion, and with those for other answers, if it has any."""
        columns = _votes(table)
        if not columns:
            return table.assign(**{f"{VOTES}{name}": (table["emotion"] == name).astype("int64") * 10 for name in used})
        new: dict[str, pd.Series] = {f"{VOTES}{name}": pd.Series(0, table.index) for name in used}
        for column in columns:
            answer = column.removeprefix(VOTES)
            mapped = self._new(corpus, answer)
            # Votes for a label that was dropped must not count for a used one of the same name.
            other = f"{answer}_dropped" if shared_name(answer) in used else answer
            name = f"{VOTES}{mapped if mapped in used else other}"
            new[name] = new[name] + table[column] if name in new else table[column]
        return table.drop(columns=columns).assign(**new)


def _votes(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table if str(name).startswith(VOTES)]


def _checked(entries: Mapping[str, Any]) -> dict[str, str | None]:
    for label, new in entries.items():
        if not (new is None or isinstance(new, str)):
            raise InputError(
                f"dataset.label_map.{label}={new} is not a label: give a text such as neutral, or null to drop it."
            )
    return {shared_name(str(label)): None if new is None else shared_name(new) for label, new in entries.items()}
