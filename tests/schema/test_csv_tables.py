from io import StringIO

import pytest

from fervid.schema.csv_tables import read_csv


def test_only_empty_cells_are_missing():
    words = ["NA", "None", "nan", "null", "N/A", "NULL", "-nan", "#N/A", "<NA>"]
    table = read_csv(StringIO("subject,sex\n" + "".join(f"{word},{word}\n" for word in words) + ",\n"), numbers=True)
    assert table["subject"].tolist()[:-1] == table["sex"].tolist()[:-1] == words
    assert table.iloc[-1].isna().all()


def test_names_are_not_parsed_as_numbers():
    table = read_csv(StringIO("subject,frame,prob_sad\n01,3,0.25\n02,4,\n"), numbers=True)
    assert table["subject"].tolist() == ["01", "02"]
    assert table["frame"].tolist() == [3, 4]
    assert table["prob_sad"].tolist()[0] == 0.25


def test_names_are_cleaned_and_paths_are_not():
    table = read_csv(StringIO("\ufeffsubject ,path\nS1\u00a0, a.png\n \u200b,b.png\n"))
    assert table.columns.tolist() == ["subject", "path"]
    assert table["path"].tolist() == [" a.png", "b.png"]
    assert table["subject"][0] == "S1"
    assert table["subject"].isna()[1]


@pytest.mark.parametrize(
    ("text", "match"), [("a,b\n1,2,3\n", "more fields"), ("a,a \n1,2\n", "two columns named 'a'"), ("", "No columns")]
)
def test_invalid_tables(text, match):
    with pytest.raises(ValueError, match=match):
        read_csv(StringIO(text))
