"""Matches names of clips in a table, or of files, with the clips of a corpus."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import pandas as pd

from fervid.corpora.feature_files import SUFFIXES
from fervid.errors import InputError
from fervid.media.formats import PICTURE_SUFFIXES, SOUND_SUFFIXES, VIDEO_SUFFIXES
from fervid.schema.names import clean_name

KNOWN_SUFFIXES = {*SUFFIXES, *PICTURE_SUFFIXES, *SOUND_SUFFIXES, *VIDEO_SUFFIXES}


def match_clips(
    names: Sequence[str], clips: pd.DataFrame, recording_of: Callable[[str], str] | None, where: str
) -> dict[int, list[int]]:
    """Finds the names that fit each clip.

    A name fits a clip if both are equal without folders and suffix, or less well if it names another version of the
    clip's recording. Where several names or clips differ only in their folders, the last folder must be equal, too.

    Args:
        names: names in a table or of files, with or without folders and suffix; unique.
        clips: one row per clip, with ``clip`` and perhaps ``recording``.
        recording_of: function that returns the recording of a name without folders and suffix.
        where: the table, for messages.

    Returns:
        For each row of ``clips`` with a fitting name, the positions of the names that fit it best. Several names fit
        equally well if they differ only in ways that the names of the clips do not show.

    Raises:
        InputError: if a name fits several clips.
    """
    clip_parts = [_parts(clip) for clip in clips["clip"]]
    by_stem: dict[str, list[int]] = defaultdict(list)
    for row, parts in enumerate(clip_parts):
        by_stem[parts[0]].append(row)
    by_recording: dict[str, list[int]] = defaultdict(list)
    if recording_of and "recording" in clips:
        for row, recording in enumerate(clips["recording"].astype(str)):
            by_recording[recording].append(row)
    name_parts = [_parts(name) for name in names]
    shared = Counter(parts[0] for parts in name_parts)
    fitting: dict[int, list[tuple[tuple[int, bool], int]]] = defaultdict(list)
    for position, (name, parts) in enumerate(zip(names, name_parts, strict=True)):
        rows = by_stem.get(parts[0], [])
        if rows:
            folders_matter = len(rows) > 1 or shared[parts[0]] > 1
            scores = {row: _score(name, parts, clips["clip"].iloc[row], clip_parts[row]) for row in rows}
            fits = [row for row in rows if not folders_matter or scores[row][0] >= min(2, len(clip_parts[row]))]
            top = max((scores[row] for row in fits), default=None)
            best = [row for row in fits if scores[row] == top]
            if len(best) > 1 or (not best and len(parts) == 1):
                first, second = (clips["clip"].iloc[row] for row in (best or rows)[:2])
                raise InputError(
                    f"{where} has the name {name!r}, which fits the clips {first} and {second}: write it as in one of "
                    "these, with folder and suffix."
                )
            for row in best:
                fitting[row].append((scores[row], position))
        if recording_of:
            for row in by_recording.get(recording_of(parts[0]), []):
                fitting[row].append(((0, False), position))
    tops = {row: max(score for score, _ in found) for row, found in fitting.items()}
    return {row: [position for score, position in found if score == tops[row]] for row, found in fitting.items()}


def _parts(name: str) -> tuple[str, ...]:
    """Returns the name without suffix, followed by its folders, the innermost first."""
    parts = [part for part in clean_name(str(name)).replace("\\", "/").split("/") if part not in ("", ".")] or [""]
    stem, dot, suffix = parts[-1].rpartition(".")
    is_suffix = bool(stem) and f"{dot}{suffix}".lower() in KNOWN_SUFFIXES
    return (stem if is_suffix else parts[-1], *reversed(parts[:-1]))


def _score(name: str, parts: tuple[str, ...], clip: str, clip_parts: tuple[str, ...]) -> tuple[int, bool]:
    """Returns the number of equal parts from the end, and whether the suffixes are equal."""
    equal = [part == other for part, other in zip(parts, clip_parts, strict=False)]
    return (equal.index(False) if False in equal else len(equal)), _last(name) == _last(clip)


def _last(name: str) -> str:
    return clean_name(str(name)).replace("\\", "/").rpartition("/")[2]
