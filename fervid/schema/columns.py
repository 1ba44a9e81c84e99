"""Declares every column that fervid or one of its readers writes, with its role, kind and meaning.

Other modules look up the role or kind of a column: reports group scores by :func:`grouping_columns`, readers reject
:data:`RESERVED` names, and CSV files are parsed by kind.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fervid.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CLIP_KEY = ["corpus", "clip"]
"""Identifies a clip: clip names are unique only within a corpus."""
FRAME_KEY = [*CLIP_KEY, "frame"]
"""Identifies a frame."""
PROBABILITY = "prob_"  # prefix of probability columns; the class name follows
VOTES = "votes_"  # prefix of columns with numbers of votes; the class, or another answer, follows
ACTION_UNIT = "au_"  # prefix of columns with the presence of an action unit, 0 or 1; its number follows
DIMENSIONS = ("valence", "arousal")
PREDICTED = "predicted_"  # prefix of columns with the prediction of a number; the column of its label follows
MAX_GROUPS = 12  # largest number of values of a column that scores are grouped by
BOX = ("box_left", "box_top", "box_width", "box_height")
EYES = ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y")
REPETITION = ("repetition",)
SPOKEN = ("statement", "sentence")  # what is said in a clip, in RAVDESS and in eNTERFACE'05
SEX = ("sex", "gender")  # a CSV may use either word


class Role(Enum):
    """Role of a column."""

    KEY = "identifies a corpus, a subject, a clip or a frame"
    SUBJECT = "an attribute of the subject"
    CONDITION = "how the clip was recorded"
    TARGET = "the label or a prediction of it"
    GEOMETRY = "where the face is in the frame"
    BOOKKEEPING = "everything else"


class Kind(Enum):
    """How the cells of a column are parsed."""

    NAME = "text, never read as a number"
    PATH = "text, exactly as stored on disk"
    VALUE = "number if all cells are numbers, else text"


@dataclass(frozen=True)
class Column:
    """A column of a manifest, a predictions table or a list of files.

    Attributes:
        name: name of the column.
        role: role of the column.
        kind: how its cells are parsed.
        meaning: one line for the documentation.
        required: whether every corpus reader must provide it.
        reserved: whether fervid writes it, so that a user's CSV must not contain it.
    """

    name: str
    role: Role
    kind: Kind
    meaning: str
    required: bool = False
    reserved: bool = False


_DECLARED = (
    Column("corpus", Role.KEY, Kind.NAME, "name of the corpus", required=True, reserved=True),
    Column(
        "subject", Role.KEY, Kind.NAME, "name of the subject, unique in its corpus; empty if unknown", required=True
    ),
    Column("clip", Role.KEY, Kind.NAME, "name of the recording or picture, unique in its corpus", required=True),
    Column("frame", Role.KEY, Kind.VALUE, "number of the frame in its clip, from 0", required=True, reserved=True),
    Column("time", Role.BOOKKEEPING, Kind.VALUE, "seconds from the start of the clip", required=True, reserved=True),
    Column("emotion", Role.TARGET, Kind.NAME, "the label, as named by the corpus", required=True),
    Column(
        "path",
        Role.BOOKKEEPING,
        Kind.PATH,
        "path of the file below the corpus folder; empty if rendered",
        required=True,
    ),
    Column("sex", Role.SUBJECT, Kind.VALUE, "male or female"),
    Column("gender", Role.SUBJECT, Kind.VALUE, "the same as sex, in a CSV file of your own"),
    Column("age", Role.SUBJECT, Kind.VALUE, "age or age range, in a CSV file of your own"),
    Column("ethnicity", Role.SUBJECT, Kind.VALUE, "ethnicity, in a CSV file of your own"),
    Column("spectacles", Role.SUBJECT, Kind.VALUE, "whether the subject wears spectacles"),
    Column("beard", Role.SUBJECT, Kind.VALUE, "whether the subject has a beard"),
    Column("modality", Role.CONDITION, Kind.VALUE, "video with or without sound, or sound only"),
    Column("channel", Role.CONDITION, Kind.VALUE, "speech or song"),
    Column("intensity", Role.CONDITION, Kind.VALUE, "how strongly the emotion is shown"),
    Column("statement", Role.CONDITION, Kind.VALUE, "the sentence spoken, in RAVDESS"),
    Column("sentence", Role.CONDITION, Kind.VALUE, "the sentence spoken, in eNTERFACE'05"),
    Column("session", Role.CONDITION, Kind.VALUE, "session in which the picture was taken, in KDEF"),
    Column("view", Role.CONDITION, Kind.VALUE, "direction from which the face is seen, in KDEF"),
    Column("repetition", Role.CONDITION, Kind.VALUE, "number of the repetition of the same statement"),
    Column("occlusion", Role.CONDITION, Kind.VALUE, "whether the face is partly covered"),
    Column("recording", Role.BOOKKEEPING, Kind.NAME, "the recording of which several clips are versions"),
    Column("predefined_split", Role.BOOKKEEPING, Kind.NAME, "the subset assigned by the publisher of the corpus"),
    Column("split", Role.BOOKKEEPING, Kind.NAME, "the subset: train, val or test"),
    Column("group", Role.BOOKKEEPING, Kind.NAME, "name shared by clips that are near-duplicates", reserved=True),
    Column("face_cluster", Role.BOOKKEEPING, Kind.NAME, "person found by face embeddings (`identity`)", reserved=True),
    Column("peak_frame", Role.BOOKKEEPING, Kind.VALUE, "number of the annotated peak frame, in ISED"),
    Column("identity", Role.BOOKKEEPING, Kind.VALUE, "number of a rendered subject"),
    Column("take", Role.BOOKKEEPING, Kind.VALUE, "number of the clip of the same subject and emotion"),
    Column("face", Role.BOOKKEEPING, Kind.PATH, "file of the face crop in the prepared corpus", reserved=True),
    Column("sound", Role.BOOKKEEPING, Kind.PATH, "file of the sound in the prepared corpus", reserved=True),
    Column("seconds", Role.BOOKKEEPING, Kind.VALUE, "duration of the sound", reserved=True),
    Column("peak_db", Role.BOOKKEEPING, Kind.VALUE, "largest level of the sound, in dB of full scale", reserved=True),
    Column("rms_db", Role.BOOKKEEPING, Kind.VALUE, "mean level of the sound, in dB of full scale", reserved=True),
    Column("clipped", Role.BOOKKEEPING, Kind.VALUE, "fraction of the sound's samples at full scale", reserved=True),
    Column("channels", Role.BOOKKEEPING, Kind.VALUE, "number of channels of the sound's source", reserved=True),
    Column("source_rate", Role.BOOKKEEPING, Kind.VALUE, "samples per second of the sound's source", reserved=True),
    Column("feature_row", Role.BOOKKEEPING, Kind.VALUE, "row of the clip in the prepared features", reserved=True),
    Column("feature_rows", Role.BOOKKEEPING, Kind.VALUE, "rows of the clip in a feature table", reserved=True),
    Column("cache_row", Role.BOOKKEEPING, Kind.VALUE, "row of the face in the face cache", reserved=True),
    Column(
        "clip_row", Role.BOOKKEEPING, Kind.VALUE, "row of the clip in the cache of sounds or features", reserved=True
    ),
    Column("faces", Role.GEOMETRY, Kind.VALUE, "number of faces detected in the frame", reserved=True),
    Column(
        "aligned",
        Role.GEOMETRY,
        Kind.NAME,
        "what the crop is aligned to: eyes, box (the face box) or whole (the whole picture)",
        reserved=True,
    ),
    Column(
        "flat", Role.GEOMETRY, Kind.VALUE, "black, white or constant if the crop is uniform, else empty", reserved=True
    ),
    Column("box_left", Role.GEOMETRY, Kind.VALUE, "left edge of the face box, in pixels", reserved=True),
    Column("box_top", Role.GEOMETRY, Kind.VALUE, "top edge of the face box, in pixels", reserved=True),
    Column("box_width", Role.GEOMETRY, Kind.VALUE, "width of the face box, in pixels", reserved=True),
    Column("box_height", Role.GEOMETRY, Kind.VALUE, "height of the face box, in pixels", reserved=True),
    *(
        Column(
            name, Role.GEOMETRY, Kind.VALUE, f"{axis} coordinate of the eye on the {side} of the frame", reserved=True
        )
        for name, side, axis in zip(EYES, ("left", "left", "right", "right"), "xyxy", strict=True)
    ),
    Column("index", Role.BOOKKEEPING, Kind.VALUE, "row of the frame in the manifest", reserved=True),
    Column("valence", Role.TARGET, Kind.VALUE, "how pleasant the shown emotion is, from -1 to 1; empty if unknown"),
    Column("arousal", Role.TARGET, Kind.VALUE, "how active the shown emotion is, from -1 to 1; empty if unknown"),
    *(
        Column(f"{PREDICTED}{name}", Role.TARGET, Kind.VALUE, f"the predicted {name}, from -1 to 1", reserved=True)
        for name in DIMENSIONS
    ),
    Column("label", Role.TARGET, Kind.NAME, "the label of the frame or clip", reserved=True),
    Column("predicted", Role.TARGET, Kind.NAME, "the class with the largest probability", reserved=True),
    Column("frames", Role.BOOKKEEPING, Kind.VALUE, "number of frames of the clip", reserved=True),
    Column("run", Role.BOOKKEEPING, Kind.VALUE, "number of the run, in tables of several runs", reserved=True),
    Column("source", Role.BOOKKEEPING, Kind.PATH, "the picture or video, in tables of `fervid.predict`"),
    Column("reason", Role.BOOKKEEPING, Kind.PATH, "why a file failed or was left out"),
)
COLUMNS = {column.name: column for column in _DECLARED}
"""Every declared column by its name."""
REQUIRED = [column.name for column in _DECLARED if column.required]
"""Columns that every corpus reader must provide."""
RESERVED = {column.name for column in _DECLARED if column.reserved}
"""Columns that fervid writes, which a user's list must not contain."""
LISTED = {column.name for column in _DECLARED if column.required and not column.reserved} | {"split"}
"""Columns of a user's CSV that fervid interprets."""


def corpora(table: "pd.DataFrame") -> list[str]:
    """Returns the corpora of a table, sorted; empty if it has no such column."""
    return sorted(table["corpus"].dropna().astype(str).unique()) if "corpus" in table else []


def keys(table: "pd.DataFrame", column: str) -> "pd.Series":
    """Returns the names in a column, such as ``subject`` or ``clip``, made unique across the corpora of a table.

    Args:
        table: one row per frame or clip.
        column: column with names that are unique within a corpus.

    Returns:
        The names unchanged if the table contains a single corpus, otherwise ``<corpus>/<name>``. Use them to count or
        group within one table; to join tables, use both columns.

    Examples:
        >>> import pandas as pd
        >>> keys(pd.DataFrame({"corpus": ["ravdess", "ised"], "subject": ["01", "01"]}), "subject").tolist()
        ['ravdess/01', 'ised/01']
    """
    names = table[column]
    if len(corpora(table)) < 2:
        return names
    return (table["corpus"].astype(str) + "/" + names.astype(str)).where(names.notna(), None).rename(column)


def role(name: str) -> Role:
    """Returns the role of a column; undeclared columns, such as those of a user's CSV, are conditions."""
    if name.startswith((VOTES, ACTION_UNIT)):
        return Role.TARGET
    return COLUMNS[name].role if name in COLUMNS else Role.CONDITION


def columns_of(*types: Role | Kind) -> tuple[str, ...]:
    """Returns the names of the declared columns with one of these roles or kinds, in order of declaration."""
    return tuple(column.name for column in _DECLARED if column.role in types or column.kind in types)


def grouping_columns(table: "pd.DataFrame") -> list[str]:
    """Returns the columns that scores are grouped by: subject attributes and conditions with 2 to 12 values.

    Args:
        table: one row per frame or clip.

    Examples:
        >>> import pandas as pd
        >>> grouping_columns(pd.DataFrame({"clip": ["a", "b"], "sex": ["female", "male"], "age": [30, 30]}))
        ['sex']
    """
    return [
        str(name)
        for name in table
        if role(str(name)) in (Role.SUBJECT, Role.CONDITION)
        and not str(name).startswith(PROBABILITY)
        and 2 <= table[name].nunique() <= MAX_GROUPS
        and not _is_measure(table[name])
    ]


def check_spelling(names: Iterable[object], known: Collection[object], where: str) -> None:
    """Checks that no column differs from a known column only in capitalisation.

    Args:
        names: columns of a table.
        known: names of the known columns.
        where: setting that names the table, such as ``dataset.csv=list.csv``.

    Raises:
        InputError: if there is such a column; the message names the first one.
    """
    for name in map(str, names):
        if name not in known and name.lower() in known:
            raise InputError(
                f"{where} has the column {name!r}: write {name.lower()!r}, or rename it if it means something else."
            )


def _is_measure(values: "pd.Series") -> bool:
    """Whether a column contains measurements: numbers, not all of them whole."""
    import pandas as pd  # not at the top: face cropping workers start faster without pandas

    numbers = pd.to_numeric(values.dropna(), errors="coerce")
    return bool(numbers.notna().all() and (numbers % 1 != 0).any())
