"""Valence, arousal and action units of rendered frames."""

import numpy as np
import pytest

from fervid.synthetic.corpus import RenderedSubjects
from fervid.synthetic.expressions import EXPRESSIONS


@pytest.fixture(scope="module")
def frames():
    return RenderedSubjects(identities=8, clips=2, frames=4).frames()


def test_units_of_an_expression_are_present_at_its_apex(frames):
    for emotion, units in EXPRESSIONS.items():
        shown = frames[frames["emotion"] == emotion]
        for unit, activity in units.items():
            if activity >= 0.7:
                assert shown[f"au_{unit}"].mean() > 0.7, (emotion, unit)
    neutral = frames[frames["emotion"] == "neutral"]
    assert neutral[["au_1", "au_4", "au_6", "au_9", "au_12", "au_15"]].to_numpy().sum() == 0
    assert 0 < neutral["au_25"].mean() < 0.6  # speech opens the lips


def test_valence_and_arousal_follow_the_circumplex(frames):
    means = frames.groupby("emotion")[["valence", "arousal"]].mean()
    assert means.loc["happy", "valence"] > 0.6
    assert means.loc["surprise", "arousal"] > 0.5
    assert means.loc["sad", "valence"] < -0.5
    assert (means.loc[["calm", "sad"], "arousal"] < 0).all()
    assert (means.loc[["angry", "fear", "disgust"], "valence"] < 0).all()
    assert (frames.loc[frames["emotion"] == "neutral", ["valence", "arousal"]] == 0).all(axis=None)
    distances = np.hypot(frames["valence"], frames["arousal"])
    assert distances.max() <= 1
    strong = distances[(frames["intensity"] == "strong")].mean()
    assert strong > distances[(frames["intensity"] == "normal") & ~frames["emotion"].isin(["neutral"])].mean()


def test_labels_of_a_frame_do_not_depend_on_the_other_frames(frames):
    fewer = RenderedSubjects(identities=2, clips=1, frames=1).frames()
    middle = RenderedSubjects(identities=2, clips=1, frames=3).frames()
    same = middle[middle["frame"] == fewer["frame"].iloc[0]].reset_index(drop=True)
    assert same.equals(fewer)
