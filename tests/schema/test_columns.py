import pandas as pd
import pytest

from fervid.data import SyntheticDataModule
from fervid.errors import InputError
from fervid.schema.columns import (
    ACTION_UNIT,
    COLUMNS,
    LISTED,
    REQUIRED,
    RESERVED,
    Role,
    check_spelling,
    grouping_columns,
    role,
)


def test_required_reserved_and_listed_columns():
    assert REQUIRED == ["corpus", "subject", "clip", "frame", "time", "emotion", "path"]
    assert {"path", "emotion", "subject", "clip", "split"} == LISTED
    assert {"corpus", "frame", "index", "label", "predicted", "box_left", "left_eye_x", "group"} <= RESERVED
    assert not RESERVED & {*LISTED, "sex", "intensity", "statement", "recording"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[("clip", Role.KEY), ("beard", Role.SUBJECT), ("intensity", Role.CONDITION), ("emotion", Role.TARGET)],
        *[("aligned", Role.GEOMETRY), ("take", Role.BOOKKEEPING), ("a column of my own", Role.CONDITION)],
    ],
)
def test_roles(name, expected):
    assert role(name) is expected


def test_every_column_of_the_rendered_corpus_is_declared():
    corpus = SyntheticDataModule(identities=2, clips=1, frames=1)
    units = {name for name in corpus.rows if name.startswith(ACTION_UNIT)}
    assert set(corpus.rows) - units <= set(COLUMNS)
    assert {role(name) for name in units} == {Role.TARGET}


def test_grouping_columns_are_subject_attributes_and_conditions():
    table = pd.DataFrame(
        {
            **{
                name: ["a", "b", "a", "b"]
                for name in COLUMNS
                if COLUMNS[name].role not in (Role.SUBJECT, Role.CONDITION)
            },
            "sex": ["female", "male", "male", "male"],
            "intensity": [1, 2, 1, 2],
            "beard": [True] * 4,  # constant
            "site": ["x", "y", "x", None],
            "light": [0.5, 1.0, 2.0, 3.0],  # a measurement
            "prob_happy": [0.0, 1.0, 1.0, 0.0],
        }
    )
    assert grouping_columns(table) == ["sex", "intensity", "site"]
    many = pd.DataFrame({"site": range(13), "dozen": [*range(12), 0]})
    assert grouping_columns(many) == ["dozen"]


def test_different_capitalisation_is_rejected():
    check_spelling(["path", "Site"], LISTED, "list.csv")
    with pytest.raises(InputError, match=r"list\.csv has the column 'Emotion': write 'emotion', or rename it"):
        check_spelling(["path", "Emotion"], LISTED, "list.csv")
