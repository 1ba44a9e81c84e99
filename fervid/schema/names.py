"""Cleans names of subjects, clips, groups and subsets, and finds different spellings of the same name."""

import re
import unicodedata
from collections.abc import Callable, Collection

import pandas as pd

from fervid.schema.columns import Kind, columns_of, corpora

# Invisible characters: zero-width space, word joiner, byte order mark, soft hyphen, text directions.
INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF]
)
JOINERS = "\u200c\u200d"  # used within Persian and Indic words, but never at their ends


def clean_name(text: str) -> str:
    """Normalises a name, so that names that look the same are equal.

    Applies Unicode NFC, because macOS and Windows encode accented letters differently, replaces every kind of blank by
    a plain space, strips surrounding blanks and removes invisible characters. NFKC is not used, because it would also
    turn superscript or circled digits into plain ones: names that differ visibly stay different, and
    :func:`look_alikes` reports them.
    """
    text = re.sub(r"\s", " ", unicodedata.normalize("NFC", text).translate(INVISIBLE))
    return text.strip(f" {JOINERS}")


def clean_column(values: pd.Series) -> pd.Series:
    """Cleans the texts of a column (:func:`clean_name`); blank texts become missing, other values do not change."""
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return values
    clean = {text: clean_name(text) or None for text in values.dropna().unique() if isinstance(text, str)}
    if all(text == cleaned for text, cleaned in clean.items()):
        return values
    return values.map(lambda value: clean.get(value, value) if isinstance(value, str) else value)


def clean_identities(table: pd.DataFrame) -> pd.DataFrame:
    """Cleans all name columns (:attr:`fervid.schema.columns.Kind.NAME`) of a table."""
    return table.assign(**{name: clean_column(table[name]) for name in columns_of(Kind.NAME) if name in table})


def look_alikes(names: Collection[str]) -> list[list[str]]:
    """Finds names that differ only in blanks, case, leading zeros or character width.

    Args:
        names: names cleaned by :func:`clean_name`.

    Returns:
        One sorted list per group of two or more such names.
    """
    return _groups(names, _bare)


def numbered(names: Collection[str]) -> list[list[str]]:
    """Finds names that differ only in a trailing number, such as ``Ann-1`` and ``Ann-2``.

    Returns none if all names follow one pattern (``S01`` to ``S24``), which is the usual way to name subjects.

    Args:
        names: names cleaned by :func:`clean_name`.

    Returns:
        One sorted list per group of two or more such names.
    """
    # A name that consists only of a number is kept.
    groups = _groups(names, lambda name: re.sub(r"[\s_.#(-]*\d+\)?$", "", name).casefold() or name)
    return [] if len(groups) == 1 and len(groups[0]) == len(set(names)) else groups


def doubts(clips: pd.DataFrame) -> list[str]:
    """Returns reasons to doubt that each subject name is one person, as sentences.

    Args:
        clips: at least one row per clip, with ``subject`` and ``clip``; several corpora are checked separately.
    """
    if len(corpora(clips)) > 1:
        return [f"{name}: {doubt}" for name, part in clips.groupby("corpus") for doubt in doubts(part)]
    known = clips.dropna(subset="subject").drop_duplicates(["subject", "clip"])
    counts = known["subject"].value_counts().sort_index()
    sentences = []
    alike, numbers = look_alikes(counts.index), numbered(counts.index)
    if alike:
        sentences.append(
            f"{_count(alike)} subject names differ only in blanks, case, leading zeros or character width "
            f"({_shown(alike)}): if they denote one person, use one spelling."
        )
    if numbers:
        sentences.append(
            f"{_count(numbers)} of {len(counts)} subjects have names that differ only in a trailing number "
            f"({_shown(numbers)}): if they denote one person, remove the number from the subject."
        )
    singles = counts.index[counts == 1]
    if 2 * len(singles) > len(counts) or 3 * len(counts) > 2 * len(known):
        sentences.append(
            f"there are {len(counts)} subjects for {len(known)} clips, and {len(singles)} subjects have only one clip "
            f"({', '.join(singles[:3])}{', ...' if len(singles) > 3 else ''}): check that each name is one person."
        )
    return sentences


def spelled_as(text: str, known: Callable[[str], bool]) -> str:
    """Finds the spelling of a file name in the file system: as given, stripped, or in Unicode NFC or NFD."""
    clean = clean_name(text)
    return next((name for name in (text, clean, unicodedata.normalize("NFD", clean)) if known(name)), text)


def _count(groups: list[list[str]]) -> int:
    return sum(map(len, groups))


def _shown(groups: list[list[str]]) -> str:
    """The two largest groups, with at most three names each."""
    largest = sorted(groups, key=len, reverse=True)
    shown = [f"{', '.join(group[:3])}{', ...' if len(group) > 3 else ''}" for group in largest[:2]]
    return "; ".join(shown) + (f"; and {len(groups) - 2} more groups" if len(groups) > 2 else "")


def _bare(name: str) -> str:
    folded = re.sub(r"\s", "", unicodedata.normalize("NFKC", name)).casefold()
    return re.sub(r"(?<!\d)0+(?=\d)", "", folded)


def _groups(names: Collection[str], key: Callable[[str], str]) -> list[list[str]]:
    unique = pd.Series(sorted(set(names)), dtype=object)
    return [group.tolist() for _, group in unique.groupby(unique.map(key)) if len(group) > 1]
