import time

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fervid import figures
from fervid.figures.drawing import GRAY
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.parts import EMOTION, Part


def history(phases):
    rows = []
    for epoch, phase in enumerate(phases, start=1):
        values = {
            f"{side}/{metric}": 0.1 * epoch for side in ("train", "val") for metric in ("loss", "accuracy", "uar")
        }
        rows.append({"epoch": epoch, "phase": phase, **values})
    return rows


def test_curves_mark_the_boundary_of_phases():
    figure = figures.curves(history(["frozen"] * 3 + ["fine_tune"] * 2), best_epoch=4)
    assert len(figure.axes) == 3
    boundaries = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in boundaries] == [3.5]
    assert [text.get_text() for text in figure.axes[0].texts] == ["frozen", "fine_tune"]
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_label() == "best epoch"] == [4]


def test_one_phase_has_no_boundary():
    figure = figures.curves(history(["full"] * 3))
    assert not [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]


def test_confusion_matrix_shows_fractions_counts_and_recall():
    figure = figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["happy", "sad"], "title")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["75%", "3", "25%", "1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["happy (75%)", "sad"]


@pytest.mark.parametrize("count", [1, 8, 11])
def test_sample_predictions_show_the_label_of_errors(count):
    faces = np.zeros((count, 10, 10, 3), np.uint8)
    figure = figures.sample_predictions(faces, ["sad"] * count, ["sad"] * (count - 1) + ["happy"], [0.5] * count)
    (axes,) = figure.axes
    assert len(axes.texts) == len(axes.images) == count
    assert axes.texts[-1].get_text() == "happy 50%\nlabel: sad"
    places = [tuple(image.get_extent()) for image in axes.images]
    assert len(set(places)) == count
    assert all(right - left == pytest.approx(bottom - top) for left, right, bottom, top in places)
    width, height = figure.get_size_inches()
    assert all(0 < left < right < width and 0 < top < bottom < height for left, right, bottom, top in places)


def test_contact_sheet_has_a_row_per_emotion():
    faces = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 16, 16, 3), np.uint8)
    figure = figures.contact_sheet(faces, ["b", "a", "b", "b", "b"], columns=3)
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "b"]
    first, second = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert first.shape == second.shape == (16, 50, 3)
    assert [first[0, column, 0] for column in (0, 17, 34)] == [2, 255, 255]
    assert [second[0, column, 0] for column in (0, 16, 17, 34)] == [1, 255, 3, 4]


def test_score_intervals_span_their_limits():
    # The second score is outside its interval, as a mean over folds may be; the third has no interval.
    low, high = [0.5, 0.3, float("nan")], [0.7, 0.4, float("nan")]
    levels = ["leaky", "subject-independent", "leaky"]
    figure = figures.score_intervals(["a", "b", "c"], [0.65, 0.45, 0.2], low, high, levels, chance=0.25)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    bars = {}
    for collection in axes.collections:
        bars |= {segment[0, 1]: tuple(segment[:, 0]) for segment in collection.get_segments() if len(segment)}
    assert 0 not in bars
    assert bars[2] == pytest.approx((0.5, 0.7))
    assert bars[1] == pytest.approx((0.3, 0.4))
    points = {}
    for line in axes.lines:
        if line.get_marker() == "o":
            points |= {y: (x, line.get_color()) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
    assert {y: x for y, (x, _) in points.items()} == {2: 0.65, 1: 0.45, 0: 0.2}
    assert points[2][1] == points[0][1] == LeakageLevel.LEAKY.colour
    assert points[1][1] == LeakageLevel.SUBJECT_INDEPENDENT.colour
    assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [0.25]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == ["chance level", "leaky", "subject-independent"]


def test_score_intervals_without_chance_and_of_an_unknown_level():
    figure = figures.score_intervals(["a" * 100], [0.5], [float("nan")], [float("nan")], ["leaky, unknown-subjects"])
    axes = figure.axes[0]
    assert not [line for line in axes.lines if line.get_linestyle() == ":"]
    assert {line.get_color() for line in axes.lines if line.get_marker() == "o"} == {GRAY}
    figure.draw_without_rendering()


def test_subject_scores_have_a_dot_per_subject_and_a_bar_at_the_mean():
    people = [[0.2, 0.4, 0.9], [1.0, 0.0]]
    axes = figures.subject_scores(["first", "second"], people).axes[0]
    dots = [collection.get_offsets() for collection in axes.collections]
    assert [own[:, 0].tolist() for own in dots] == people
    assert [np.abs(own[:, 1] - place).max() < 0.2 for own, place in zip(dots, (1, 0), strict=True)] == [True, True]
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([0.5, 0.5])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


def test_reliability_diagram_shows_both_curves_and_frame_counts():
    def table(confidence, accuracy, frames):
        return pd.DataFrame({"confidence": confidence, "accuracy": accuracy, "frames": frames})

    figure = figures.reliability_diagram(table([0.5, 0.9], [0.4, 0.6], [10, 30]), table([0.6], [0.5], [40]), "t" * 60)
    axes = figure.axes[0]
    diagonal, before, after = axes.lines
    assert (list(diagonal.get_xdata()), list(diagonal.get_ydata())) == ([0, 1], [0, 1])
    assert (before.get_xdata().tolist(), before.get_ydata().tolist()) == ([0.5, 0.9], [0.4, 0.6])
    assert (after.get_xdata().tolist(), after.get_ydata().tolist()) == ([0.6], [0.5])
    small, large = axes.collections[0].get_sizes()
    assert large > 2 * small
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["uncalibrated", "temperature-scaled"]
    assert "\n" in axes.get_title()


def rows(person, times):
    return [{"person": person, "time": time, "prob_happy": 0.75, "prob_sad": 0.25} for time in times]


def test_timeline_shows_the_four_most_frequent_persons():
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    table = pd.DataFrame([row for person in range(1, 7) for row in rows(person, times[: person + 1])])
    table = pd.concat([table, pd.DataFrame(rows(9, [0.3]))])
    figure = figures.timeline(table, [Part(EMOTION, ("happy", "sad"))], [*times, 0.6, 0.7], "a.mp4")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert [title.split(",")[0] for title in titles] == ["person 5", "person 6", "person 4", "person 3"]
    assert titles[0] == "person 5, detected in 6 of 8 frames"
    assert "2 more persons not shown" in figure.axes[-1].get_xlabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sad", "happy"]  # in stacking order


def test_timeline_has_gaps():
    times = [0.0, 0.1, 0.2, 0.7, 0.8]
    figure = figures.timeline(pd.DataFrame(rows(1, times)), [Part(EMOTION, ("happy", "sad"))], times)
    happy = figure.axes[0].collections[0]
    spans = sorted((path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in happy.get_paths())
    assert np.array(spans) == pytest.approx(np.array([[-0.05, 0.25], [0.65, 0.85]]))
    assert happy.get_paths()[0].vertices[:, 1].max() == 0.75


def test_timeline_without_faces():
    table = pd.DataFrame(columns=["time", "person", "prob_happy", "prob_sad"])
    figure = figures.timeline(table, [Part(EMOTION, ("happy", "sad"))], [0.0, 0.1])
    assert figure.axes[0].texts[0].get_text() == "no face detected"


def test_explained_faces_are_next_to_their_heat_maps():
    face = np.zeros((10, 10, 3), np.uint8)
    views, captions = [[face, face + 9, face + 90], [face, face + 5]] * 2, [["1", "2", "3"], ["4", "5\nmore"]] * 2
    figure = figures.explained_faces(views, captions, ["a face", "b " * 60, "c", "d"], columns=3)
    figure.draw_without_rendering()
    assert len(figure.subfigs) == 6  # two rows of three, two of them empty
    headings = [place.get_suptitle() for place in figure.subfigs if place.get_suptitle()]
    assert headings[0] == "a face"
    assert headings[1].endswith(" b...")
    shown = [[axes for axes in place.axes if axes.images] for place in figure.subfigs]
    assert [len(axes) for axes in shown] == [3, 2, 3, 2, 0, 0]
    assert [axes.get_xlabel() for axes in shown[1]] == ["4", "5\nmore"]
    assert [int(axes.images[0].get_array().max()) for axes in shown[0]] == [0, 9, 90]


@pytest.mark.parametrize("count", [1, 8])
def test_mean_heat_maps_are_below_the_mean_faces(count):
    faces = np.zeros((count, 10, 10, 3), np.uint8)
    names, captions = [f"emotion{number}" for number in range(count)], [f"{number} right" for number in range(count)]
    figure = figures.mean_heat_maps(faces, faces + 90, names, captions, "the title")
    figure.draw_without_rendering()
    assert len(figure.axes) == 2 * count
    assert [int(axes.images[0].get_array().max()) for axes in figure.axes] == [0] * count + [90] * count
    assert [axes.get_title() for axes in figure.axes[:count]] == names
    assert [axes.get_xlabel() for axes in figure.axes[count:]] == captions
    assert figure.get_suptitle() == "the title"


def test_save_agrees_with_savefig(tmp_path):
    rows = history(["frozen"] * 3 + ["fine_tune"] * 2)
    figures.curves(rows, best_epoch=3).savefig(tmp_path / "usual.png", dpi=110)
    assert figures.save(figures.curves(rows, best_epoch=3), tmp_path / "ours.png") == tmp_path / "ours.png"
    usual, ours = (cv2.imread(str(tmp_path / name)) for name in ("usual.png", "ours.png"))
    np.testing.assert_array_equal(ours, usual)


MANY = [f"emotion {number:04d}" for number in range(1000)]


@pytest.mark.parametrize(
    "draw",
    [
        lambda faces: figures.confusion_matrix(np.ones((1000, 1000), int), MANY),
        lambda faces: figures.contact_sheet(faces, MANY),
        lambda faces: figures.mean_heat_maps(faces, faces, MANY, MANY, "what is looked at"),
        lambda faces: figures.timeline(
            pd.DataFrame({"person": 1, "time": [0.0, 1.0]} | {f"prob_{name}": 0.001 for name in MANY}),
            [Part(EMOTION, tuple(MANY))],
            [0.0, 1.0],
        ),
    ],
    ids=["confusion_matrix", "contact_sheet", "mean_heat_maps", "timeline"],
)
def test_a_thousand_emotions(draw, tmp_path):
    began = time.process_time()
    figure = draw(np.zeros((1000, 16, 16, 3), np.uint8))
    figures.save(figure, tmp_path / "figure.png")
    assert time.process_time() - began < 20  # minutes and gigabytes if all were drawn
    with Image.open(tmp_path / "figure.png") as picture:
        assert max(picture.size) < 6000
