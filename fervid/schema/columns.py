"""Every column that fervid or one of its readers writes, declared once: its role, its kind and its meaning.

Whoever needs to know what a column is for asks its role: reports compare scores by :func:`grouping_columns`, readers
refuse :data:`RESERVED` names, CSV files are read by kind.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from fervid.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CLIP_KEY = ["corpus", "clip"]
"""Names a clip: another corpus may use the same name for another one."""
FRAME_KEY = [*CLIP_KEY, "frame"]
"""Names a frame."""
PROBABILITY = "prob_"  # begins the name of a column of probabilities, before the class
MAX_GROUPS = 12  # values of a column by which scores are compared
BOX = ("box_left", "box_top", "box_width", "box_height")
EYES = ("left_eye_x", "left_eye_y", "right_eye_x", "right_eye_y")
REPETITION = ("repetition",)
SPOKEN = ("statement", "sentence")  # as RAVDESS and as eNTERFACE'05 call what is said in a clip
SEX = ("sex", "gender")  # a CSV may use either word


class Role(Enum):
    """What a column is for."""

    KEY = "names a corpus, a subject, a clip or a frame"
    SUBJECT = "an attribute of the subject"
    CONDITION = "how the clip was recorded"
    TARGET = "what is learned"
    GEOMETRY = "where the face is in the frame"
    BOOKKEEPING = "everything else"


class Kind(Enum):
    """How the cells of a column are read."""

    NAME = "text, never read as a number"
    PATH = "text, exactly as stored on disk"
    VALUE = "number if all cells are numbers, else text"


@dataclass(frozen=True)
class Column:
    """A column of a manifest, of a table of predictions or of a list of files.

    Attributes:
        name: as it is written.
        role: what it is for.
        kind: how its cells are read.
        meaning: one line for the documentation.
        required: whether every corpus reader gives it.
        reserved: whether fervid itself writes it, so that a CSV of one's own must not have it.
    """

    name: str
    role: Role
    kind: Kind
    meaning: str
    required: bool = False
    reserved: bool = False


_DECLARED = (
    Column("corpus", Role.KEY, Kind.NAME, "name of the corpus", required=True, reserved=True),
    Column("subject", Role.KEY, Kind.NAME, "the subject, unique within the corpus; empty if unknown", required=True),
    Column("clip", Role.KEY, Kind.NAME, "the recording or picture, unique within the corpus", required=True),
    Column("frame", Role.KEY, Kind.VALUE, "number of the frame in its clip, from 0", required=True, reserved=True),
    Column("time", Role.BOOKKEEPING, Kind.VALUE, "seconds from the start of the clip", required=True, reserved=True),
    Column("emotion", Role.TARGET, Kind.NAME, "the label, as the corpus calls it", required=True),
    Column("path", Role.BOOKKEEPING, Kind.PATH, "the file, relative to the root; empty if rendered", required=True),
    Column("sex", Role.SUBJECT, Kind.VALUE, "male or female"),
    Column("gender", Role.SUBJECT, Kind.VALUE, "in a CSV: the same as sex"),
    Column("age", Role.SUBJECT, Kind.VALUE, "in a CSV: age or age range"),
    Column("ethnicity", Role.SUBJECT, Kind.VALUE, "in a CSV: ethnicity"),
    Column("spectacles", Role.SUBJECT, Kind.VALUE, "whether the subject wears spectacles"),
    Column("beard", Role.SUBJECT, Kind.VALUE, "whether the subject has a beard"),
    Column("modality", Role.CONDITION, Kind.VALUE, "video with or without sound"),
    Column("channel", Role.CONDITION, Kind.VALUE, "speech or song"),
    Column("intensity", Role.CONDITION, Kind.VALUE, "how strongly the emotion is shown"),
    Column("statement", Role.CONDITION, Kind.VALUE, "the sentence spoken, in RAVDESS"),
    Column("sentence", Role.CONDITION, Kind.VALUE, "the sentence spoken, in eNTERFACE'05"),
    Column("repetition", Role.CONDITION, Kind.VALUE, "number of the take of the same statement"),
    Column("occlusion", Role.CONDITION, Kind.VALUE, "whether the face is partly covered"),
    Column("recording", Role.BOOKKEEPING, Kind.NAME, "the recording that several clips are versions of"),
    Column("predefined_split", Role.BOOKKEEPING, Kind.NAME, "the subset assigned by the publisher of the corpus"),
    Column("split", Role.BOOKKEEPING, Kind.NAME, "the subset: train, val or test"),
    Column("group", Role.BOOKKEEPING, Kind.NAME, "name shared by clips that look the same", reserved=True),
    Column("peak_frame", Role.BOOKKEEPING, Kind.VALUE, "number of the annotated peak frame, in ISED"),
    Column("identity", Role.BOOKKEEPING, Kind.VALUE, "number of a rendered subject"),
    Column("take", Role.BOOKKEEPING, Kind.VALUE, "number of the clip among those of one rendered subject and emotion"),
    Column("face", Role.BOOKKEEPING, Kind.PATH, "file of the face crop in the prepared corpus", reserved=True),
    Column("cache_row", Role.BOOKKEEPING, Kind.VALUE, "row of the face in the face cache", reserved=True),
    Column("faces", Role.GEOMETRY, Kind.VALUE, "how many faces were detected in the frame", reserved=True),
    Column(
        "aligned",
        Role.GEOMETRY,
        Kind.NAME,
        "how the crop was aligned: eyes, box or whole (the whole picture)",
        reserved=True,
    ),
    Column("flat", Role.GEOMETRY, Kind.VALUE, "black, white or constant if the crop shows no face", reserved=True),
    Column("box_left", Role.GEOMETRY, Kind.VALUE, "left edge of the face box, in pixels", reserved=True),
    Column("box_top", Role.GEOMETRY, Kind.VALUE, "top edge of the face box, in pixels", reserved=True),
    Column("box_width", Role.GEOMETRY, Kind.VALUE, "width of the face box, in pixels", reserved=True),
    Column("box_height", Role.GEOMETRY, Kind.VALUE, "height of the face box, in pixels", reserved=True),
    *(Column(name, Role.GEOMETRY, Kind.VALUE, "position of an eye, in pixels", reserved=True) for name in EYES),
    Column("index", Role.BOOKKEEPING, Kind.VALUE, "row of the frame in the manifest", reserved=True),
    Column("label", Role.TARGET, Kind.NAME, "the label of the frame or clip", reserved=True),
    Column("predicted", Role.TARGET, Kind.NAME, "the class with the largest probability", reserved=True),
    Column("frames", Role.BOOKKEEPING, Kind.VALUE, "how many frames the clip has", reserved=True),
    Column("run", Role.BOOKKEEPING, Kind.VALUE, "number of the run, in a table of several runs", reserved=True),
    Column("source", Role.BOOKKEEPING, Kind.PATH, "the picture or video, in the tables of predict"),
    Column("reason", Role.BOOKKEEPING, Kind.PATH, "why a file failed or was left out"),
)
COLUMNS = {column.name: column for column in _DECLARED}
"""Every declared column by its name."""
REQUIRED = [column.name for column in _DECLARED if column.required]
"""What every corpus reader gives."""
RESERVED = {column.name for column in _DECLARED if column.reserved}
"""What fervid writes itself, so that no list of one's own may have it."""
LISTED = {column.name for column in _DECLARED if column.required and not column.reserved} | {"split"}
"""The columns of a CSV of one's own that mean something to fervid."""


def corpora(table: "pd.DataFrame") -> list[str]:
    """The corpora of a table, sorted; none if it does not say."""
    return sorted(table["corpus"].dropna().astype(str).unique()) if "corpus" in table else []


def keys(table: "pd.DataFrame", column: str) -> "pd.Series":
    """The names in a column, such as ``subject`` or ``clip``, unique over the corpora of a table.

    Args:
        table: one row a frame or clip.
        column: of names that are unique within a corpus.

    Returns:
        The names as they are if the table holds a single corpus, else ``<corpus>/<name>``. Whatever is counted or
        grouped in one table can go by them; to look up names of another table use both columns.

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
    """The role of a column; one that is not declared, such as a user's own, is a condition."""
    return COLUMNS[name].role if name in COLUMNS else Role.CONDITION


def columns_of(*wanted: Role | Kind) -> tuple[str, ...]:
    """The names of the declared columns of some roles or kinds, in the order in which they are declared."""
    return tuple(column.name for column in _DECLARED if column.role in wanted or column.kind in wanted)


def grouping_columns(table: "pd.DataFrame") -> list[str]:
    """The columns by which scores may be compared: attributes of subjects and conditions, each with 2 to 12 values.

    Args:
        table: one row a frame or clip.

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
    """Refuses a column that differs from a known one in capitals alone.

    Args:
        names: the columns of a table.
        known: those that mean something.
        where: how the user calls the table, such as ``dataset.csv=list.csv``.

    Raises:
        InputError: naming the first such column.
    """
    for name in map(str, names):
        if name not in known and name.lower() in known:
            raise InputError(
                f"{where} has the column {name!r}: write {name.lower()!r}, or rename it if it means something else."
            )


def _is_measure(values: "pd.Series") -> bool:
    """Whether a column measures something: numbers with a fraction."""
    import pandas as pd  # here: the processes that cut out faces start without it

    numbers = pd.to_numeric(values.dropna(), errors="coerce")
    return bool(numbers.notna().all() and (numbers % 1 != 0).any())
