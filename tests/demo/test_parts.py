"""What the demo shows of runs of valence and arousal, action units, and several targets at once."""

import av
import numpy as np
import pytest
from part_runs import TASKS
from PIL import Image

from fervid.demo.part_views import NO_HEAT_MAPS, part_bars
from fervid.demo.views import about, show_frame, show_picture, show_video
from fervid.faces.detection import HaarDetector
from fervid.predict.predictor import Predictor
from fervid.schema.parts import AFFECT, UNITS, Part


@pytest.mark.parametrize("task", TASKS)
def test_views_show_all_parts(part_runs, trained, tmp_path, task):
    clip = next(trained.corpus.rglob("*.mp4"))
    with av.open(str(clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    Image.fromarray(image).save(tmp_path / "face.png")
    predictor = Predictor(part_runs[task], detector=HaarDetector())
    picture, frame = show_picture(predictor, tmp_path / "face.png"), show_frame(predictor, image)
    assert picture.note == NO_HEAT_MAPS
    for view in (picture, frame):
        face = view.faces[0]
        assert face.heat is None
        assert bool(face.probabilities) == (task == "multi")
        assert ("valence" in face.bars) == (task != UNITS)
        assert ("AU12" in face.bars) == (task != AFFECT)
    video = show_video(predictor, clip, tmp_path, longest=9, frame_stride=5, smoothing=0)
    assert video.file.exists()
    assert video.timeline is not None
    columns = list(video.persons)
    assert ("Mean probability" in columns) == (task == "multi")
    assert ("Mean valence and arousal" in columns) == (task != UNITS)
    assert ("Action units" in columns) == (task != AFFECT)
    text = about(predictor)
    assert "# Facial expression analysis" in text
    assert "1 is perfect" in text


def test_bars_start_at_zero_and_mark_present_units():
    bars = part_bars({Part(AFFECT, ("valence", "arousal")): np.array([-0.5, 0.2])})
    assert "left:25.0%;width:25.0%" in bars
    assert "-0.50" in bars
    assert "left:50.0%;width:10.0%" in bars
    bars = part_bars({Part(UNITS, ("au_6", "au_12")): np.array([0.5, 0.4])})
    present, absent = bars.split("AU12")
    assert "#0072b2" in present
    assert "#0072b2" not in absent
    assert part_bars({}) == ""
