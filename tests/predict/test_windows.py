"""Predictions of runs of clips and sounds for the windows of videos and sound files."""

import json
import signal
from fractions import Fraction

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from sound_files import add_sound, encode_sound, tone, write_silent_video, write_sound

from fervid import load_run
from fervid.media.sound import read_sound
from fervid.predict.recording import Recording
from fervid.predict.window_predictor import WindowPredictor

RATE = 16_000


@pytest.fixture
def predict(fervid_command, recorded, tmp_path, monkeypatch):
    """Runs the command with the run of a sample, and returns the table of windows."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    threads = cv2.getNumThreads(), torch.get_num_threads()

    def run(sample, *words, folder=None):
        folder = folder or recorded(sample).folder
        try:
            fervid_command("predict", f"run={folder}", *words, "+cache_dir=none", f"hydra.run.dir={tmp_path}/out")
        finally:
            cv2.setNumThreads(threads[0])
            torch.set_num_threads(threads[1])
        return pd.read_csv(tmp_path / "out/windows.csv")

    return run


@pytest.fixture
def clips(recorded):
    """The videos with sound that the runs were trained and tested on: 30 frames, 1.2 s."""
    return sorted(recorded("clip").corpus.rglob("*.avi"))


def mux(pictures, target, samples=None, *, delay=0.0, first=0, rate=RATE):
    """Writes the frames of a video from number ``first``, and samples, (channels, N), that begin ``delay`` s later."""
    with av.open(str(pictures)) as source, av.open(str(target), "w") as container:
        film = container.add_stream("mpeg4", rate=25, options={"flags": "+qscale", "global_quality": "236"})
        film.width, film.height, film.pix_fmt = 320, 240, "yuv420p"
        sound = None if samples is None else add_sound(container, samples, rate, "pcm_s16le")
        for number, frame in enumerate(source.decode(video=0)):
            if number >= first:
                frame.pts, frame.time_base = number - first, Fraction(1, 25)
                container.mux(film.encode(frame))
        container.mux(film.encode(None))
        for packet in encode_sound(sound, samples, rate) if sound else []:
            packet.pts = packet.dts = packet.pts + round(delay / packet.time_base)
            container.mux(packet)
    return target


@pytest.mark.parametrize("sample", ["clip", "sound", "clip_sound"])
def test_answer_over_a_whole_clip_is_that_of_the_test(predict, recorded, sample, capsys):
    tested = pd.read_csv(recorded(sample).folder / "predictions.csv")
    paths = [recorded(sample).corpus / path for path in tested["path"]]
    one = [] if sample == "sound" else ["faces=one"]
    table = predict(sample, f"source=[{','.join(map(str, paths))}]", "window=5", *one)
    assert table["source"].tolist() == [str(path) for path in paths]
    assert (table["start"].tolist(), table["end"].tolist()) == ([0, 0], [1.2, 1.2])
    columns = ["prob_anger", "prob_happiness"]
    assert np.abs(table[columns].to_numpy() - tested[columns].to_numpy()).max() < 2e-6
    assert table["emotion"].tolist() == tested["predicted"].tolist()
    assert set(table["modalities"]) == {{"clip": "image", "clip_sound": "image+sound"}.get(sample, sample)}
    output = " ".join(capsys.readouterr().out.split())
    assert "windows of 5 s every 0.5 s" in output
    assert "2 windows in" in output
    assert "frames in" not in output


def test_windows_slide_and_hear_their_part_of_the_sound(predict, recorded, clips, tmp_path):
    table = predict("sound", f"source={clips[0]}", "window=0.6", "step=0.2")
    assert table["start"].tolist() == pytest.approx([0, 0.2, 0.4, 0.6])
    assert table["end"].tolist() == pytest.approx([0.6, 0.8, 1.0, 1.2])
    assert table["person"].isna().all()
    samples = np.round(read_sound(clips[0]).samples * 32768) / 32768
    model = load_run(recorded("sound").folder)
    for row in table.itertuples():
        part = torch.from_numpy(samples[round(row.start * RATE) : round(row.end * RATE)].astype(np.float32))
        with torch.no_grad():
            expected = model(part[None]).softmax(1)[0]
        assert [row.prob_anger, row.prob_happiness] == pytest.approx(expected.tolist(), abs=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "out/windows.jsonl").read_text().splitlines()]
    assert [line["start"] for line in lines] == table["start"].tolist()
    assert [path.name for path in (tmp_path / "out/timelines").iterdir()] == [f"{clips[0].stem}.png"]
    assert not (tmp_path / "out/annotated").exists()


def test_pictures_of_a_window_are_those_of_the_same_video_on_its_own(predict, clips, tmp_path):
    mux(clips[0], tmp_path / "whole.mkv")
    mux(clips[0], tmp_path / "part.mkv", first=15)
    table = predict("clip", f"source=[{tmp_path}/whole.mkv,{tmp_path}/part.mkv]", "window=0.6", "step=0.2")
    whole, part = (table[table["source"].str.endswith(name)] for name in ("whole.mkv", "part.mkv"))
    assert (len(whole), len(part)) == (4, 1)
    assert whole["frames"].tolist() == [3] * 4
    assert whole["prob_anger"].iloc[-1] == pytest.approx(part["prob_anger"].iloc[0], abs=0.02)  # encoded again
    with av.open(str(tmp_path / "out/annotated/whole.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx(np.arange(0, 30, 3) / 25, abs=2e-3)


def test_sound_that_begins_late_belongs_to_the_windows_in_which_it_is_played(predict, clips, tmp_path):
    sound = read_sound(clips[0]).samples[None, : round(0.6 * RATE)]
    mux(clips[0], tmp_path / "late.mkv", sound, delay=0.6)
    write_sound(tmp_path / "alone.wav", sound)
    table = predict("clip_sound", f"source=[{tmp_path}/late.mkv,{tmp_path}/alone.wav]", "window=0.6", "step=0.6")
    late, alone = table.iloc[:2], table.iloc[2]
    assert late["modalities"].tolist() == ["image", "image+sound"]
    assert (alone["modalities"], alone["start"], alone["end"]) == ("sound", 0, 0.6)
    assert late["sound_prob_anger"].iloc[1] == pytest.approx(alone["sound_prob_anger"], abs=2e-4)
    assert np.isnan(late["sound_prob_anger"].iloc[0])
    assert late["image_prob_anger"].iloc[0] == late["prob_anger"].iloc[0]


def test_pictures_that_begin_late_belong_to_the_windows_in_which_they_are_shown(recorded, clips, tmp_path):
    path = mux(clips[0], tmp_path / "a.mkv", tone(1.0))
    with av.open(str(path)) as source, av.open(str(tmp_path / "late.mkv"), "w") as container:
        streams = {stream.index: container.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                shift = round((3 if packet.stream.type == "video" else 1) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    predictor = WindowPredictor(recorded("clip_sound").folder)
    recording = Recording(predictor, tmp_path / "late.mkv", seconds=1.0, step=1.0)
    found = [(window.start, [each.modalities for each in predictions]) for window, predictions in recording]
    assert found[:3] == [(0, [("sound",)]), (1, []), (2, [("image",)])]
    assert recording.faces.offset == pytest.approx(2)
    assert next(iter(recording.faces.boxes.values()))[0][0] == pytest.approx(2)


def test_window_with_a_missing_modality_is_answered_by_the_other(predict, clips, tmp_path, capsys):
    mux(clips[0], tmp_path / "mute.mkv")
    write_sound(tmp_path / "nobody.mkv", tone(1.2), pictures=True)
    write_sound(tmp_path / "voice.m4a", tone(1.2, 44_100), 44_100, "aac")
    mux(clips[0], tmp_path / "long.mkv", tone(2.0))
    table = predict("clip_sound", f"source={tmp_path}", "window=1", "step=0.5")
    by_name = {name.rpartition("/")[2]: part for name, part in table.groupby("source")}
    assert by_name["mute.mkv"]["modalities"].tolist() == ["image"] * 2
    assert by_name["mute.mkv"]["sound_emotion"].isna().all()
    assert set(by_name["nobody.mkv"]["modalities"]) == set(by_name["voice.m4a"]["modalities"]) == {"sound"}
    assert by_name["nobody.mkv"]["person"].isna().all()
    assert by_name["long.mkv"]["modalities"].tolist() == ["image+sound"] * 3
    assert by_name["long.mkv"]["frames"].tolist() == [5, 3, 1]
    assert not (tmp_path / "out/failures.csv").exists()
    assert sorted(path.name for path in (tmp_path / "out/annotated").iterdir()) == ["long.mp4", "mute.mp4"]
    assert "recordings at" in capsys.readouterr().out


def test_network_that_needs_both_modalities_says_so(recorded, clips, tmp_path):
    predictor = WindowPredictor(recorded("clip_sound").folder)
    predictor.needed = ("image", "sound")
    recording = Recording(predictor, mux(clips[0], tmp_path / "mute.mkv"))
    with pytest.raises(ValueError, match="has no sound track; the network needs image and sound together"):
        list(recording)
    assert recording.answered == 0


def test_each_bad_sound_is_explained_and_each_good_one_is_answered(predict, clips, tmp_path):
    source = tmp_path / "in"
    speech = read_sound(clips[0]).samples[None]
    write_sound(source / "surround.wav", np.tile(speech, (6, 1)))
    write_sound(source / "telephone.wav", speech[:, ::2], 8_000)
    write_sound(source / "silent.wav", np.zeros((1, RATE), np.float32))
    write_sound(source / "click.wav", tone(0.01))
    write_silent_video(source / "mute.avi")
    whole = write_sound(source / "truncated.wav", np.tile(speech, (1, 3))).read_bytes()
    (source / "truncated.wav").write_bytes(whole[: len(whole) // 2])
    (source / "words.mp3").write_text("words")
    (source / "picture.png").write_text("picture")
    table = predict("sound", f"source={source}", "window=0.6", "step=0.6")
    counts = {name.rpartition("/")[2]: len(part) for name, part in table.groupby("source")}
    assert counts == {"surround.wav": 2, "telephone.wav": 2, "truncated.wav": 3}
    surround = table[table["source"].str.endswith("surround.wav")]
    assert surround["end"].tolist() == [0.6, 1.2]
    failures = {
        path.rpartition("/")[2]: reason
        for path, reason in pd.read_csv(tmp_path / "out/failures.csv")[["source", "reason"]].to_numpy()
    }
    assert set(failures) == {"silent.wav", "click.wav", "mute.avi", "truncated.wav", "words.mp3", "picture.png"}
    assert "silent (peak -inf dB)" in failures["silent.wav"]
    assert "only 0.0100 s of sound" in failures["click.wav"]
    assert failures["mute.avi"] == "has no sound track"
    assert (
        failures["truncated.wav"] == "truncated: only 50% of its samples are present (after 3 windows, which are kept)"
    )
    assert "not a sound file" in failures["words.mp3"]
    assert "of another kind" in failures["picture.png"]


def test_video_without_faces_has_no_answer_but_is_no_failure(predict, tmp_path, capsys):
    write_silent_video(tmp_path / "empty.avi")
    assert predict("clip", f"source={tmp_path}/empty.avi").empty
    assert "no answer for 1 of 1 sources" in capsys.readouterr().out
    assert not (tmp_path / "out/failures.csv").exists()


def test_long_sound_is_forgotten_window_by_window(recorded, tmp_path):
    write_sound(tmp_path / "long.wav", tone(40.0))
    recording = Recording(WindowPredictor(recorded("sound").folder), str(tmp_path / "long.wav"), seconds=2, step=2)
    starts = []
    for window, predictions in recording:
        starts.append(window.start)
        assert len(predictions) == 1
        assert window.start < 20 or recording.sound.between(0, 2) is None
    assert starts == list(range(0, 40, 2))


def test_default_window_is_the_typical_length_of_the_training_clips(recorded):
    assert WindowPredictor(recorded("sound").folder).window_seconds() == pytest.approx(1.2)
    assert WindowPredictor(recorded("clip").folder).window_seconds() == pytest.approx(1.2)


def test_features_are_missing_but_sound_is_answered(fervid_command, predict, recorded, clips, tmp_path, capsys):
    names = pd.read_parquet(recorded("sound").folder / "manifest.parquet")["clip"]
    values = np.random.default_rng(0).normal(size=(len(names), 2))
    pd.DataFrame(values, columns=["AU01_r", "AU12_r"]).assign(clip=names).to_csv(tmp_path / "units.csv", index=False)
    shared = [
        "dataset=enterface",
        f"dataset.root={recorded('sound').corpus}",
        f"dataset.features_path={tmp_path}/units.csv",
    ]
    shared += ["head=linear", "split.val=0.25", "split.test=0.25", "dataset.batch_size=4", "trainer.max_epochs=1"]
    shared += [
        "+trainer.enable_progress_bar=false",
        "logger=none",
        f"cache_dir={recorded('sound').folder.parent}/cache",
    ]
    cnn = ["sound_encoder.widths=[8,8,16,16]", "sound_encoder.bands=16"]
    fervid_command("train", "sample=sound_features", *cnn, *shared, f"hydra.run.dir={tmp_path}/both")
    fervid_command("train", "sample=features", *shared, f"hydra.run.dir={tmp_path}/features")
    table = predict("", f"source={clips[0]}", folder=tmp_path / "both")
    assert set(table["modalities"]) == {"sound"}
    assert "features: missing" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        predict("", f"source={clips[0]}", folder=tmp_path / "features")
    assert "classifies feature tables, which cannot be computed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sample", "words", "sentence"),
    [
        ("sound", ["window=0"], "window=0 is out of range: use 0.1 to 600 seconds"),
        ("sound", ["window=1000"], "window=1000 is out of range"),
        ("sound", ["step=0.001"], "step=0.001 is out of range: use 0.05 seconds or more"),
        ("sound", ["faces=one"], "faces cannot be used"),
        ("sound", ["frame_stride=2"], "frame_stride cannot be used"),
        ("clip", ["smoothing=0.5"], "smoothing=0.5 cannot be used"),
        ("clip", ["seconds=3"], "seconds=3 is for cameras"),
        ("clip", ["source=camera"], "source=camera cannot be used, since the run classifies clips: give a video"),
        ("clip", ["source={sound}"], "is not a video"),
        ("sound", ["source={picture}"], "is neither a video nor a sound file"),
    ],
)
def test_settings_that_do_not_apply_are_refused_in_one_sentence(
    predict, clips, capsys, tmp_path, sample, words, sentence
):
    write_sound(tmp_path / "a.wav", tone())
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((9, 9, 3), np.uint8))
    words = [word.format(sound=tmp_path / "a.wav", picture=tmp_path / "a.png") for word in words]
    if not any(word.startswith("source=") for word in words):
        words.append(f"source={clips[0]}")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        predict(sample, *words)
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_window_is_refused_by_a_run_of_single_pictures(predict, trained, clips, capsys):
    with pytest.raises(SystemExit):
        predict("", f"source={clips[0]}", "window=2", folder=trained.folder)
    assert "window=2 cannot be used" in capsys.readouterr().err
