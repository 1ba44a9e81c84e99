"""Tracking of people by their faces."""

from fervid.faces.face import Face
from fervid.faces.tracking import Tracker


def face(left, top=0.0, side=100.0):
    return Face((left, top, side, side))


def test_numbers_do_not_depend_on_the_order_of_faces():
    tracker = Tracker()
    assert tracker.number([face(0), face(300)], 0.0) == [1, 2]
    assert tracker.number([face(310), face(10)], 0.1) == [2, 1]
    assert tracker.number([face(20), face(600), face(320)], 0.2) == [1, 3, 2]


def test_number_is_kept_within_the_patience():
    tracker = Tracker(patience=1.0)
    tracker.number([face(0)], 0.0)
    assert tracker.number([], 0.5) == []
    assert tracker.number([face(20)], 0.9) == [1]
    assert tracker.number([face(20)], 2.0) == [2]


def test_total_overlap_is_maximised():
    tracker = Tracker()
    tracker.number([face(0), face(60)], 0.0)
    # The first face is between the two; a greedy choice would leave the second face unmatched.
    assert tracker.number([face(25), face(-10)], 0.1) == [2, 1]


def test_face_at_another_position_gets_a_new_number():
    tracker = Tracker()
    tracker.number([face(0)], 0.0)
    assert tracker.number([face(95)], 0.1) == [2]
