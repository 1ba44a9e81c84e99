"""People keep their number."""

from fervid.faces.face import Face
from fervid.faces.tracking import Tracker


def face(left, top=0.0, side=100.0):
    return Face((left, top, side, side))


def test_people_keep_their_number_in_whatever_order_their_faces_come():
    tracker = Tracker()
    assert tracker.number([face(0), face(300)], 0.0) == [1, 2]
    assert tracker.number([face(310), face(10)], 0.1) == [2, 1]
    assert tracker.number([face(20), face(600), face(320)], 0.2) == [1, 3, 2]


def test_a_short_miss_is_forgiven_a_long_one_is_not():
    tracker = Tracker(patience=1.0)
    tracker.number([face(0)], 0.0)
    assert tracker.number([], 0.5) == []
    assert tracker.number([face(20)], 0.9) == [1]
    assert tracker.number([face(20)], 2.0) == [2]


def test_the_overlaps_are_matched_as_a_whole():
    tracker = Tracker()
    tracker.number([face(0), face(60)], 0.0)
    # The first lies between the two; the greedy choice would leave the second without its person.
    assert tracker.number([face(25), face(-10)], 0.1) == [2, 1]


def test_a_face_elsewhere_is_somebody_else():
    tracker = Tracker()
    tracker.number([face(0)], 0.0)
    assert tracker.number([face(95)], 0.1) == [2]
