"""The demo with runs of clips and sounds: what it shows of videos and sounds, and what a browser records."""

import gc
import shutil
import socket

import av
import numpy as np
import pytest
from sound_files import tone, write_silent_video, write_sound

from fervid.demo.page import build_page
from fervid.demo.recordings import show_recording
from fervid.demo.server import launch
from fervid.demo.views import about
from fervid.media.sound import encode_wav, read_sound
from fervid.predict.window_predictor import WindowPredictor

# Gradio's server leaves its event loops and their sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed (event loop|<socket):ResourceWarning"),
    pytest.mark.usefixtures("loops_swept_up"),
]
SETTINGS = {"longest": 60, "step": 0.2}


@pytest.fixture(scope="module")
def predictors(recorded):
    return {sample: WindowPredictor(recorded(sample).folder) for sample in ("clip", "sound", "clip_sound")}


@pytest.fixture(scope="module")
def clip(recorded):
    return sorted(recorded("clip_sound").corpus.rglob("*.avi"))[0]


def test_headline_speaks_of_clips_and_voices(predictors):
    texts = {sample: about(predictor) for sample, predictor in predictors.items()}
    assert texts["clip"].startswith("# Facial emotion recognition")
    assert texts["sound"].startswith("# Emotion recognition")
    assert "classifies voices, not feelings" in texts["sound"]
    assert "classifies facial expressions and voices, not feelings" in texts["clip_sound"]
    assert "of the clips, averaged over 2 emotions" in texts["sound"]


def test_video_is_shown_with_its_sound_and_a_line_for_each_modality(predictors, clip, tmp_path):
    view = show_recording(predictors["clip_sound"], clip, tmp_path, **SETTINGS)
    assert view.answers["From"].tolist() == ["sound alone", "person 1: image alone", "person 1: image and sound"]
    assert [axes.get_title(loc="left") for axes in view.timeline.axes] == [
        *("sound alone", "person 1, image alone", "person 1, image and sound"),
    ]
    assert (view.note, view.sound) == ("", None)
    with av.open(str(view.video)) as container:
        assert len(list(container.decode(video=0))) == 10
    heard, played = read_sound(clip), read_sound(view.video)
    assert played.seconds == pytest.approx(1.2, abs=0.1)
    assert abs(np.abs(played.samples).argmax() - np.abs(heard.samples).argmax()) < 0.05 * 16_000


def test_sound_is_played_as_the_network_hears_it(predictors, clip, tmp_path):
    view = show_recording(predictors["sound"], clip, tmp_path, **SETTINGS)
    assert view.video is None
    assert view.answers["From"].tolist() == ["sound"]
    assert read_sound(view.sound).seconds == pytest.approx(1.2)
    short = show_recording(predictors["sound"], clip, tmp_path, longest=1.3, step=0.5)
    assert short.note == ""
    write_sound(tmp_path / "long.wav", tone(5.0))
    short = show_recording(predictors["sound"], tmp_path / "long.wav", tmp_path, longest=2.5, step=0.5)
    assert "longer than 2.5 seconds" in short.note
    assert read_sound(short.sound).seconds == pytest.approx(2.2)


def test_clip_without_sound_is_shown_without_it(predictors, clip, tmp_path):
    view = show_recording(predictors["clip"], clip, tmp_path, **SETTINGS)
    assert view.answers["From"].tolist() == ["person 1: image"]
    with av.open(str(view.video)) as container:
        assert not container.streams.audio


def test_files_without_an_answer_give_a_message(predictors, tmp_path):
    (tmp_path / "words.mp4").write_text("words")
    write_silent_video(tmp_path / "empty.avi")
    notes = {
        (name, sample): show_recording(predictors[sample], tmp_path / name, tmp_path, **SETTINGS).note
        for name in ("words.mp4", "empty.avi")
        for sample in ("clip", "sound")
    }
    assert "This file cannot be used: not a video" in notes["words.mp4", "clip"]
    assert "This file cannot be used: not a sound file or video" in notes["words.mp4", "sound"]
    assert "No face found" in notes["empty.avi", "clip"]
    assert notes["empty.avi", "sound"] == "This file cannot be used: has no sound track."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.avi", "words.mp4"]


@pytest.fixture
def browser(clip, tmp_path):
    """A browser whose microphone hears the clip."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium to look at the page with")
    speech = tmp_path / "speech.wav"
    speech.write_bytes(encode_wav(read_sound(clip).samples, 16_000))
    fake = [f"--use-fake-{name}-for-media-stream" for name in ("device", "ui")]
    with playwright.sync_playwright() as drivers:
        arguments = ["--no-sandbox", *fake, f"--use-file-for-fake-audio-capture={speech}"]
        one = drivers.chromium.launch(executable_path=chromium, args=arguments)
        yield one
        one.close()


def test_browser_records_the_microphone_and_shows_the_answer(predictors, browser, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    served = build_page(predictors["clip_sound"], tmp_path, longest_video=60)
    launch(served, port, 1)
    page, asked = browser.new_context(permissions=["microphone"]).new_page(), []
    page.set_default_timeout(15_000)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{port}")
    page.get_by_role("tab", name="Microphone").click()
    panel = page.locator("[role=tabpanel]:visible")
    panel.get_by_role("button", name="Record").first.click()
    page.wait_for_timeout(1500)
    panel.get_by_role("button", name="Stop").locator("visible=true").first.click()
    panel.get_by_text("sound alone").locator("visible=true").first.wait_for()
    assert [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}", "data:", "blob:"))] == []
    served.close(verbose=False)
    gc.collect()  # while the warning is ignored
