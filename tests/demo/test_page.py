"""The demo's page: its views, the requests its server rejects, and what a browser shows."""

import gc
import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from fervid.demo import views
from fervid.demo.page import build_page
from fervid.demo.server import launch
from fervid.demo.views import about, show_frame, show_picture, show_video
from fervid.errors import InputError
from fervid.media.decoding import read_frames
from fervid.media.sampling import Sampling
from fervid.predict.predictor import Predictor
from fervid.runs.run import open_run

# Gradio's server leaves its event loops and their sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed (event loop|<socket):ResourceWarning"),
    pytest.mark.usefixtures("loops_swept_up"),
]
SETTINGS = {"frame_stride": 4, "smoothing": 0.0}


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor(trained.folder)


@pytest.fixture(scope="module")
def clip(trained):
    return next(path for path in sorted(trained.corpus.rglob("*.mp4")))


@pytest.fixture(scope="module")
def face(clip, tmp_path_factory):
    image = next(iter(read_frames(clip, Sampling(8)))).image
    path = tmp_path_factory.mktemp("face") / "face.png"
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def served(predictor, tmp_path_factory):
    """A page that takes up to 1 MB, its address and the folder of its files."""
    folder, port = tmp_path_factory.mktemp("gradio"), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        page = build_page(predictor, folder, longest_video=60, **SETTINGS)
        launch(page, port, 1)
        yield f"http://127.0.0.1:{port}", folder
        page.close(verbose=False)
        gc.collect()  # while the warning is ignored


def test_headline_states_data_split_and_test_result(predictor):
    text, results = about(predictor), predictor.results
    assert f"it recognises **{results['metrics']['test/uar']:.0%}** of the faces" in text
    assert "chance: 33%" in text
    assert "rendered faces, none of them real" in text
    assert "subject-independent" in text
    assert "Do not use it for decisions about people" in text


def test_picture_view_contains_each_face(predictor, face, tmp_path):
    image = cv2.imread(str(face))
    two = tmp_path / "two.png"
    cv2.imwrite(str(two), np.hstack([image, image]))
    view = show_picture(predictor, two)
    assert view.image.shape == (240, 640, 3)
    assert [each.title for each in view.faces] == ["Face 1", "Face 2"]
    first, side = view.faces[0], predictor.image_size
    assert first.picture.shape == first.heat.shape == (side, side, 3)
    seen = min(predictor.picture(two), key=lambda each: each.face.box[0])
    assert first.heat_title == f"the regions that contribute to {seen.emotion}"
    assert list(first.probabilities) == predictor.class_names
    assert list(first.probabilities.values()) == pytest.approx(seen.probabilities.tolist())


def test_faces_beyond_the_maximum_are_counted(predictor, face, tmp_path, monkeypatch):
    image = cv2.imread(str(face))
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack([image, image]))
    monkeypatch.setattr(views, "MAX_FACES", 1)
    view = show_picture(predictor, tmp_path / "two.png")
    assert "2 faces were found; the 1 largest" in view.note
    assert len(view.faces) == 1


def test_network_without_feature_maps_is_shown_without_heat_maps(predictor, face, monkeypatch):
    def none(model, pictures):
        raise InputError("no maps")

    monkeypatch.setattr(views, "heat_maps", none)
    view = show_picture(predictor, face)
    assert "no feature maps" in view.note
    assert view.faces[0].heat is None


def test_terms_of_the_initial_weights_are_stated(predictor, monkeypatch):
    run = open_run(predictor.folder)
    run.results["weights"] = {"source": "file", "requested": "faces.pth", "data": "F", "licence": "CC BY-NC 4.0"}
    monkeypatch.setattr(views, "open_run", lambda folder: run)
    assert "Initial weights faces.pth (file): trained on F; licence: CC BY-NC 4.0. Research only:" in about(predictor)


def test_names_from_a_run_are_escaped(predictor, monkeypatch):
    run = open_run(predictor.folder)
    run.results["data"]["corpora"][0] |= {"name": "<script>alert(1)</script> *b*", "published": True}
    monkeypatch.setattr(views, "open_run", lambda folder: run)
    assert "<script>" not in about(predictor)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\*b\\*" in about(predictor)


def test_missing_face_and_unreadable_files_give_a_message(predictor, tmp_path):
    blank = np.zeros((120, 160, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "blank.png"), blank)
    (tmp_path / "words.mp4").write_text("words")
    assert "No face found" in show_picture(predictor, tmp_path / "blank.png").note
    assert "No face found" in show_frame(predictor, blank).note
    unreadable = show_picture(predictor, b"words")
    assert unreadable.image is None
    assert "This picture cannot be read: cannot identify image file." in unreadable.note
    view = show_video(predictor, tmp_path / "words.mp4", tmp_path, longest=9, **SETTINGS)
    assert view.file is None
    assert "This video cannot be read" in view.note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blank.png", "words.mp4"]


def test_video_view_contains_annotated_video_and_timeline(predictor, clip, tmp_path):
    view = show_video(predictor, clip, tmp_path, longest=60, **SETTINGS)
    assert [frame.number for frame in read_frames(view.file, Sampling(1))] == [0, 1, 2, 3]  # of 16, each fourth
    assert view.persons["Person"].tolist() == [1]
    assert len(view.timeline.axes) == 1
    assert view.note == ""


def test_long_video_is_truncated(predictor, clip, tmp_path):
    view = show_video(predictor, clip, tmp_path, longest=0.2, **SETTINGS)
    assert "longer than 0.2 seconds" in view.note
    assert [frame.time < 0.21 for frame in read_frames(view.file, Sampling(1))] == [True, True]


def test_webcam_frame_view_contains_its_faces(predictor, face):
    view = show_frame(predictor, cv2.imread(str(face))[..., ::-1])
    assert [each.title for each in view.faces] == ["Face 1"]
    assert view.faces[0].heat is None


def test_page_is_served_only_to_this_machine(served, predictor):
    address, folder = served
    assert httpx.get(address).status_code == 200
    port = int(address.rpartition(":")[2])
    with socket.socket() as other:  # 127.0.0.2 is this machine, too, but not what the page listens on
        assert other.connect_ex(("127.0.0.2", port)) != 0
    with pytest.raises(InputError, match=f"port={port} cannot be used"):
        launch(build_page(predictor, folder, longest_video=60, **SETTINGS), port, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
)
def test_other_hosts_and_origins_are_refused(served, headers):
    address, _ = served
    port = address.rpartition(":")[2]
    headers = {name: value.format(port=port) for name, value in headers.items()}
    for method, path in (("GET", "/"), ("GET", "/config"), ("POST", "/gradio_api/upload"), ("OPTIONS", "/config")):
        answer = httpx.request(method, address + path, headers=headers | {"Access-Control-Request-Method": "POST"})
        assert answer.status_code in (400, 403)
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_same_origin_requests_are_accepted(served, host):
    port = served[0].rpartition(":")[2]
    headers = {"Host": f"{host}:{port}", "Origin": f"http://{host}:{port}"}
    assert httpx.get(served[0], headers=headers).status_code == 200


def test_twenty_simultaneous_uploads_of_one_picture_are_answered(served, face):
    address, _ = served
    config = httpx.get(f"{address}/config").json()
    number = next(each["id"] for each in config["dependencies"] if each["targets"][0][1] == "upload")
    with ThreadPoolExecutor(20) as pool:
        files = {"files": ("face.png", face.read_bytes())}
        uploads = list(
            pool.map(lambda _: httpx.post(f"{address}/gradio_api/upload", files=files, timeout=60).json()[0], range(20))
        )

        def answer(visitor):
            data = [{"path": uploads[visitor], "orig_name": "face.png", "meta": {"_type": "gradio.FileData"}}]
            asked = {"data": data, "fn_index": number, "session_hash": f"visitor{visitor}"}
            httpx.post(f"{address}/gradio_api/queue/join", json=asked, timeout=60).raise_for_status()
            where = f"{address}/gradio_api/queue/data?session_hash=visitor{visitor}"
            with httpx.stream("GET", where, timeout=60) as stream:
                lines = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
                return next(line for line in lines if line["msg"] == "process_completed")

        answers = list(pool.map(answer, range(20)))
    assert [each["success"] for each in answers] == [True] * 20
    assert all("**Face 1**" in str(each["output"]) for each in answers)


def test_files_of_this_machine_cannot_be_requested(served, predictor, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for path in ("/etc/passwd", tmp_path / "secret.txt", predictor.folder / "results.json", Path("pyproject.toml")):
        answer = httpx.get(f"{served[0]}/gradio_api/file={path}")
        assert answer.status_code in (403, 404)


def test_upload_above_the_limit_is_rejected(served):
    address, folder = served
    small, large = (
        httpx.post(f"{address}/gradio_api/upload", files={"files": ("a.jpg", b"x" * n)}) for n in (9, 2**21)
    )
    assert small.status_code == 200
    assert large.status_code == 413
    assert max((path.stat().st_size for path in folder.rglob("*") if path.is_file()), default=0) < 2**20


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium to look at the page with")
    with playwright.sync_playwright() as drivers:
        one = drivers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield one
        one.close()


def test_browser_shows_predictions_without_outside_requests(served, browser, predictor, face, clip):
    address, _ = served
    page, asked = browser.new_page(), []
    page.set_default_timeout(15_000)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.get_by_role("tab", name="Picture").wait_for()
    page.locator("input[type=file]:not([disabled])").first.set_input_files(face)
    page.get_by_text("Face 1").wait_for()
    panel = page.locator("[role=tabpanel]:visible")
    assert all(name in panel.inner_text() for name in predictor.class_names)
    loaded = "images => images.map(image => image.complete && image.naturalWidth > 0)"
    assert panel.locator("img:visible").evaluate_all(loaded) == [True] * 3

    page.get_by_role("tab", name="Video").click()
    page.locator("[role=tabpanel]:visible input[type=file]").first.set_input_files(clip)
    page.locator("[role=tabpanel]:visible table").first.wait_for()
    page.locator("[role=tabpanel]:visible img").first.wait_for()  # the timeline
    page.wait_for_function("document.querySelector('video')?.readyState >= 2")  # it can be played

    page.get_by_role("tab", name="Picture").click()
    page.locator("[role=tabpanel]:visible input[type=file]").first.set_input_files(
        {"name": "words.jpg", "mimeType": "image/jpeg", "buffer": b"words"}
    )
    page.get_by_text("This picture cannot be read").wait_for()

    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert asked
    assert outside == []
    page.close()
