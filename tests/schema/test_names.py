import pandas as pd
import pytest

from fervid.schema.names import clean_name, doubts, look_alikes, numbered


@pytest.mark.parametrize("typed", ["S001 ", " S001", "S001\u00a0", "\ufeffS001", "S0\u200b01", "S001\u2060\t"])
def test_names_that_look_the_same_are_equal(typed):
    assert clean_name(typed) == "S001"


def test_composed_and_decomposed_letters_are_equal():
    assert clean_name("Jose\u0301") == clean_name("Jos\u00e9")


def test_names_that_look_different_stay_different():
    assert clean_name("S\u00b2") != clean_name("S2")
    assert clean_name("\u062e\u0646\u062f\u0647\u200c\u0631\u0648") == "\u062e\u0646\u062f\u0647\u200c\u0631\u0648"


def test_names_that_differ_in_blanks_case_zeros_or_width_look_alike():
    assert look_alikes(["S1", "s01", "S 1", "S10", "S100", "\uff331"]) == [["S 1", "S1", "s01", "\uff331"]]
    assert look_alikes(["1", "10", "100", "2"]) == []


def test_names_that_differ_only_in_a_trailing_number():
    assert numbered(["Ann-1", "Ann-2", "Ben"]) == [["Ann-1", "Ann-2"]]
    assert numbered([f"S{number:02d}" for number in range(1, 25)]) == []  # the usual names of subjects
    assert numbered(["1", "2", "10"]) == []


def test_one_clip_per_subject_is_doubtful():
    def table(subjects):
        return pd.DataFrame({"subject": subjects, "clip": [f"c{number}" for number in range(len(subjects))]})

    assert doubts(table(["Ann"] * 4 + ["Ben"] * 4 + ["Cy"])) == []
    (said,) = doubts(table(["Ann", "Ann", "Ben", "Cy", None]))
    assert said.startswith("there are 3 subjects for 4 clips, and 2 subjects have only one clip (Ben, Cy)")
