"""The command fervid.predict."""

import json
import shutil
import signal
import zipfile
from fractions import Fraction

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fervid.media.decoding import Frame
from fervid.predict import prediction
from fervid.predict.inputs import Camera


@pytest.fixture
def predict(fervid_command, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    threads = cv2.getNumThreads()

    def run(*words):
        try:
            fervid_command(
                "predict", f"run={trained.folder}", *words, "+cache_dir=none", f"hydra.run.dir={tmp_path}/out"
            )
        finally:
            cv2.setNumThreads(threads)

    return run


def test_folder_gives_tables_annotated_files_and_timelines(predict, trained, tmp_path, capsys):
    source = tmp_path / "in"
    (source / "other").mkdir(parents=True)
    clip = next(trained.corpus.rglob("*.mp4"))
    for name in ("film.mp4", "other/film.mp4"):
        (source / name).write_bytes(clip.read_bytes())
    with av.open(str(clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    Image.fromarray(image).save(source / "face.png")
    (source / "broken.jpg").write_text("no picture")
    predict(f"source={source}", "frame_stride=5")
    out = tmp_path / "out"
    table = pd.read_csv(out / "faces.csv")
    lines = [json.loads(line) for line in (out / "faces.jsonl").read_text().splitlines()]
    assert pd.DataFrame(lines).equals(table)
    assert (
        table["source"].tolist()
        == [str(source / "face.png"), *[str(source / "film.mp4")] * 4] + [str(source / "other/film.mp4")] * 4
    )
    assert table["frame"].tolist() == [0, *[0, 5, 10, 15] * 2]
    assert table["person"].isna().tolist() == [True, *[False] * 8]
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["face.png", "film.mp4", "film_2.mp4"]
    assert sorted(path.name for path in (out / "timelines").iterdir()) == ["film.png", "film_2.png"]
    with av.open(str(out / "annotated/film_2.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx(table["time"].tolist()[5:], abs=1e-3)
    assert pd.read_csv(out / "failures.csv")["source"].tolist() == [str(source / "broken.jpg")]
    output = capsys.readouterr().out
    assert "1 of 4 sources failed: see failures.csv" in output
    assert "times real time" in output
    assert f"Output: {out}" in output


def encode_again(source, target, codec="libx264", size=(320, 240), aspect=Fraction(1), **options):
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream(codec, rate=Fraction(30), options={"crf": "15", **options})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number, frame in enumerate(old.decode(video=0)):
            frame = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24", width=size[0], height=size[1]), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            new.mux(stream.encode(frame))
        new.mux(stream.encode())
    return target


def test_boxes_and_annotated_videos_use_displayed_pixels(predict, trained, tmp_path):
    """The same clip with pixels that are square, and twice as wide as high."""
    clip = next(trained.corpus.rglob("*.mp4"))
    encode_again(clip, tmp_path / "square.mp4")
    encode_again(clip, tmp_path / "wide.mp4", size=(160, 240), aspect=Fraction(2))
    predict(f"source=[{tmp_path}/square.mp4,{tmp_path}/wide.mp4]", "frame_stride=5")
    table = pd.read_csv(tmp_path / "out/faces.csv")
    square, wide = (table[table["source"].str.endswith(name)] for name in ("square.mp4", "wide.mp4"))
    assert square["frame"].tolist() == wide["frame"].tolist() == [0, 5, 10, 15]
    for column in ("box_left", "box_top", "box_width", "box_height"):
        np.testing.assert_allclose(square[column], wide[column].to_numpy(), atol=12)
    assert set(wide["aligned"]) == {"eyes"}
    for name in ("square.mp4", "wide.mp4"):
        with av.open(str(tmp_path / "out/annotated" / name)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height) == (320, 240)
            assert stream.sample_aspect_ratio in (None, 0, 1)


def test_trimmed_recording_is_numbered_from_its_first_frame(predict, trained, tmp_path):
    clip = encode_again(next(trained.corpus.rglob("*.mp4")), tmp_path / "film.mts", g="6", bf="2")
    content = clip.read_bytes()
    with av.open(str(clip)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.is_keyframe]
    start = (places[0] + places[1]) // 2 // 188 * 188
    clip.write_bytes(content[start:])
    predict(f"source={clip}", "frame_stride=2")
    table = pd.read_csv(tmp_path / "out/faces.csv")
    assert table["frame"].tolist() == [0, 2, 4, 6, 8]  # frames 6 to 15 of the whole clip
    assert table["time"].tolist() == pytest.approx([number / 30 for number in range(0, 10, 2)], abs=1e-3)
    with av.open(str(tmp_path / "out/annotated/film.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(table["time"].tolist(), abs=1e-3)
    assert not (tmp_path / "out/failures.csv").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["source=nowhere.mp4"], "source=nowhere.mp4 does not exist"),
        (["source=null"], "source is missing"),
        (["run=null", "source=a.mp4"], "run is missing"),
        (["run=[a,b]", "source=a.mp4"], "give one folder; only fervid.evaluate accepts several runs"),
        (["run=nowhere", "source=camera"], "nowhere is not a folder"),
        (["source=camera", "frame_stride=0"], "frame_stride=0 is out of range: use 1 or more"),
        (["source=camera", "faces=two"], "choose all or one"),
        (["source=camera", "smoothing=-1"], "smoothing=-1"),
        (["source=camera", "margin=wide"], "margin=wide is out of range"),
        (["source=camera", "device=abacus"], "device=abacus"),
        (["source=camera", "annotate=perhaps"], "annotate=perhaps is not a truth value"),
    ],
)
def test_invalid_settings_give_one_sentence(predict, capsys, words, sentence):
    with pytest.raises(SystemExit):
        predict(*words)
    output = capsys.readouterr().err
    assert sentence in output
    assert output.count("\n") == 1


def test_ctrl_c_keeps_complete_rows_and_names_the_position(predict, trained, tmp_path, capsys, monkeypatch):
    clip = next(trained.corpus.rglob("*.mp4"))
    write = prediction.AnnotatedVideo.write

    def interrupt(self, frame, faces):
        if frame.number == 9:
            raise KeyboardInterrupt
        write(self, frame, faces)

    monkeypatch.setattr(prediction.AnnotatedVideo, "write", interrupt)
    with pytest.raises(SystemExit):
        predict(f"source={clip}")
    assert "interrupted at second 0.3 of" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "out/faces.csv")
    assert table["frame"].tolist() == [0, 3, 6, 9]
    with av.open(str(next((tmp_path / "out/annotated").iterdir()))) as container:
        assert len(list(container.decode(video=0))) == 3


def test_ctrl_c_ends_a_camera_without_an_error(predict, trained, tmp_path, capsys, monkeypatch):
    def film(self, frame_stride):
        for number in range(4):
            yield Frame(number, number / 10, np.zeros((60, 80, 3), np.uint8))
        raise KeyboardInterrupt

    monkeypatch.setattr(Camera, "frames", film)
    predict("source=camera")
    output = capsys.readouterr().out
    assert "camera" in output
    assert (tmp_path / "out/timelines/camera.png").exists()


def test_full_disk_gives_one_sentence(predict, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("fervid.predict.empty_folder", lambda folder: folder)  # which would refuse it
    (tmp_path / "out/annotated").mkdir(parents=True)
    clip = next(trained.corpus.rglob("*.mp4"))
    (tmp_path / f"out/annotated/{clip.stem}.mp4").symlink_to("/dev/full")
    with pytest.raises(SystemExit):
        predict(f"source={clip}")
    assert "is full: free disk space" in capsys.readouterr().err
    assert list((tmp_path / "out/annotated").iterdir()) == []


def test_existing_output_folder_is_not_overwritten(predict, trained, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text("of a run")
    with pytest.raises(SystemExit):
        predict(f"source={next(trained.corpus.rglob('*.mp4'))}")
    assert "already contains files" in capsys.readouterr().err
    assert (tmp_path / "out" / "predictions.csv").read_text() == "of a run"


def test_run_trained_on_crops_warns_once(predict, trained, tmp_path, capsys):
    clips = list(trained.corpus.rglob("*.mp4"))[:2]
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    results = json.loads((folder / "results.json").read_text())
    results["config"]["detector"] = {"_target_": "fervid.faces.detection.NoDetector"}
    results["data"]["corpora"][0]["pictures"] = True
    (folder / "results.json").write_text(json.dumps(results))
    predict(f"source=[{clips[0]},{clips[1]}]", f"run={folder}", "frame_stride=8")
    assert capsys.readouterr().out.count("the Haar detector finds the faces") == 1
    assert "whole" not in set(pd.read_csv(tmp_path / "out/faces.csv")["aligned"])
    shutil.rmtree(tmp_path / "out")
    predict(f"source={clips[0]}", f"run={folder}", "detector=none")
    assert set(pd.read_csv(tmp_path / "out/faces.csv")["aligned"]) == {"whole"}


def test_skipped_files_and_blank_faces_are_reported(predict, trained, tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    clip = next(trained.corpus.rglob("*.mp4"))
    with av.open(str(clip)) as container:
        image = next(container.decode(video=0)).to_ndarray(format="rgb24")
    for name in ("face.gif", "face.jfif"):
        Image.fromarray(image).save(source / name)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(source / "dark.png")
    (source / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    for name in ("notes.txt", "old.rar", "Thumbs.db"):
        (source / name).write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(source / "face.jfif", "sub\\face.jfif")
    predict(f"source=[{source},{tmp_path}/in.zip]", "detector=none")
    out = tmp_path / "out"
    seen = {path.rpartition("/in")[2] for path in pd.read_csv(out / "faces.csv")["source"]}
    assert seen == {"/face.gif", "/face.jfif", "/dark.png", ".zip/sub/face.jfif"}
    failures = pd.read_csv(out / "failures.csv")
    assert sorted(failures.to_numpy().tolist()) == [
        [str(source / "notes.txt"), "of another kind (.txt)", "left out"],
        [str(source / "old.rar"), ".rar cannot be read: unpack it", "left out"],
        [str(source / "photo.heic"), ".heic is not a supported format: save it as JPEG or PNG", "failed"],
    ]
    output = " ".join(" ".join(capsys.readouterr()).split())
    assert "files of other kinds, left out: 1 (.txt 1)." in output
    assert "unsupported archives, left out: 1 (.rar 1)" in output
    assert "Faces without content: 1 black. Check how their files were saved. The first is in" in output
