import numpy as np
import pytest

from fervid import figures


def history(phases):
    rows = []
    for epoch, phase in enumerate(phases):
        values = {
            f"{side}/{metric}": 0.1 * epoch for side in ("train", "val") for metric in ("loss", "accuracy", "uar")
        }
        rows.append({"epoch": epoch, "phase": phase, **values})
    return rows


def test_curves_mark_the_boundary_of_phases():
    figure = figures.curves(history(["frozen"] * 3 + ["fine_tune"] * 2), best_epoch=3)
    assert len(figure.axes) == 3
    boundaries = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in boundaries] == [3.5]
    assert [text.get_text() for text in figure.axes[0].texts] == ["frozen", "fine_tune"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_one_phase_has_no_boundary():
    figure = figures.curves(history(["full"] * 3))
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_confusion_matrix_tells_shares_counts_and_recall():
    figure = figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["happy", "sad"], "title")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["75%", "3", "25%", "1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy (75%)", "sad"]


@pytest.mark.parametrize("count", [1, 8, 11])
def test_sample_predictions_say_what_is_wrong(count):
    faces = np.zeros((count, 10, 10, 3), np.uint8)
    figure = figures.sample_predictions(faces, ["sad"] * count, ["sad"] * (count - 1) + ["happy"], [0.5] * count)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == count
    assert titles[-1] == "happy 50%\nis sad"


def test_contact_sheet_has_a_row_an_emotion():
    figure = figures.contact_sheet(np.zeros((5, 10, 10, 3), np.uint8), ["b", "a", "b", "b", "a"], columns=3)
    assert len(figure.axes) == 6
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "", "", "b", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 0, 1, 1, 1]
