"""Names of subjects, clips, groups and subsets: which of them are one, and which only seem to be several."""

import re
import unicodedata
from collections.abc import Callable, Collection

import pandas as pd

from fervid.schema.columns import Kind, columns_of, corpora

# Shown by no font, and part of no spelling: zero-width space, word joiner, byte order mark, soft hyphen, directions.
INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF]
)
JOINERS = "\u200c\u200d"  # Persian and Indic words are spelt with them, but none begins or ends with one


def clean_name(text: str) -> str:
    """A name as it is read: what looks the same becomes the same.

    Composed (Unicode's NFC: macOS and Windows write an accented letter in different ways), every kind of blank one
    plain space, no blanks around it and no invisible characters. Not NFKC, which would also turn a superscript or a
    circled digit into a plain one: names that differ visibly stay apart, and :func:`look_alikes` reports them.
    """
    text = re.sub(r"\s", " ", unicodedata.normalize("NFC", text).translate(INVISIBLE))
    return text.strip(f" {JOINERS}")


def clean_column(values: pd.Series) -> pd.Series:
    """Cleans the texts of a column (:func:`clean_name`); those that are blank become missing, the rest is untouched."""
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return values
    clean = {text: clean_name(text) or None for text in values.dropna().unique() if isinstance(text, str)}
    if all(text == cleaned for text, cleaned in clean.items()):
        return values
    return values.map(lambda value: clean.get(value, value) if isinstance(value, str) else value)


def clean_identities(table: pd.DataFrame) -> pd.DataFrame:
    """Cleans all columns of names (:attr:`fervid.schema.columns.Kind.NAME`) that a table has."""
    return table.assign(**{name: clean_column(table[name]) for name in columns_of(Kind.NAME) if name in table})


def look_alikes(names: Collection[str]) -> list[list[str]]:
    """Names that differ only in blanks, case, leading zeros or the width of their characters.

    Args:
        names: as :func:`clean_name` gives them.

    Returns:
        One sorted list for each group of two or more such names.
    """
    return _groups(names, _bare)


def numbered(names: Collection[str]) -> list[list[str]]:
    """Names that differ only in a trailing number, such as ``Ann-1`` and ``Ann-2``.

    None if all names are numbered alike (``S01`` to ``S24``): that is how subjects are usually named.

    Args:
        names: as :func:`clean_name` gives them.

    Returns:
        One sorted list for each group of two or more such names.
    """
    # A name that is nothing but a number is a name.
    groups = _groups(names, lambda name: re.sub(r"[\s_.#(-]*\d+\)?$", "", name).casefold() or name)
    return [] if len(groups) == 1 and len(groups[0]) == len(set(names)) else groups


def doubts(clips: pd.DataFrame) -> list[str]:
    """What speaks against the names of subjects being people, one sentence each.

    Args:
        clips: one row a clip or more, with ``subject`` and ``clip``; of several corpora each is looked at by itself.
    """
    if len(corpora(clips)) > 1:
        return [f"{name}: {doubt}" for name, part in clips.groupby("corpus") for doubt in doubts(part)]
    known = clips.dropna(subset="subject").drop_duplicates(["subject", "clip"])
    counts = known["subject"].value_counts().sort_index()
    said = []
    alike, numbers = look_alikes(counts.index), numbered(counts.index)
    if alike:
        said.append(
            f"{_count(alike)} names of subjects differ only in blanks, case, leading zeros or character width "
            f"({_shown(alike)}): if they are one person, write them alike."
        )
    if numbers:
        said.append(
            f"{_count(numbers)} of {len(counts)} subjects have names that differ only in a trailing number "
            f"({_shown(numbers)}): if they are one person, leave the number out of the subject."
        )
    singles = counts.index[counts == 1]
    if 2 * len(singles) > len(counts) or 3 * len(counts) > 2 * len(known):
        said.append(
            f"there are {len(counts)} subjects for {len(known)} clips, and {len(singles)} of them have a single one "
            f"({', '.join(singles[:3])}{', ...' if len(singles) > 3 else ''}): check that each name is one person."
        )
    return said


def spelled_as(text: str, known: Callable[[str], bool]) -> str:
    """A file name from a table as the disk spells it: as typed, without blanks around it, composed or decomposed."""
    clean = clean_name(text)
    return next((name for name in (text, clean, unicodedata.normalize("NFD", clean)) if known(name)), text)


def _count(groups: list[list[str]]) -> int:
    return sum(map(len, groups))


def _shown(groups: list[list[str]]) -> str:
    """The two largest groups, three names of each at most."""
    largest = sorted(groups, key=len, reverse=True)
    shown = [f"{', '.join(group[:3])}{', ...' if len(group) > 3 else ''}" for group in largest[:2]]
    return "; ".join(shown) + (f"; and {len(groups) - 2} more groups" if len(groups) > 2 else "")


def _bare(name: str) -> str:
    folded = re.sub(r"\s", "", unicodedata.normalize("NFKC", name)).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", folded)


def _groups(names: Collection[str], key: Callable[[str], str]) -> list[list[str]]:
    unique = pd.Series(sorted(set(names)), dtype=object)
    return [group.tolist() for _, group in unique.groupby(unique.map(key)) if len(group) > 1]
