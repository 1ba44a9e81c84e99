import ast
import json
import wave

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from rendered_corpora.enterface import write_enterface
from rendered_corpora.hf_faces import HF_EMOTIONS, write_hf_parquet
from rendered_corpora.ised import write_ised
from rendered_corpora.ravdess import write_ravdess
from scipy.io import loadmat

from fervid.errors import InputError
from fervid.media.sound import read_sound
from fervid.synthetic.rendering import make_identity

FORMATS = (("01", "mp4"), ("02", "mp4"), ("03", "wav"))  # by modality of RAVDESS
SMALL = {"frames": 8, "width": 160, "height": 96}


def decode(path):
    with av.open(path) as container:
        stream = container.streams.video[0]
        return (
            stream.codec_context.name,
            float(stream.average_rate),
            [f.to_ndarray(format="rgb24") for f in container.decode(stream)],
        )


def files(root, pattern):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob(pattern))


def test_ravdess_has_every_name_of_two_actors_and_no_strong_neutral(tmp_path):
    table = write_ravdess(tmp_path, emotions=("neutral", "fearful"), modalities=("01", "02"), **SMALL)
    expected = [
        f"Actor_{actor}/{modality}-01-{emotion}-{strength}-01-01-{actor}.mp4"
        for actor in ("01", "02")
        for modality in ("01", "02")
        for emotion, strength in (("01", "01"), ("06", "01"), ("06", "02"))
    ]
    assert sorted(table["path"]) == sorted(expected) == files(tmp_path, "*.mp4")
    assert dict(zip(table["subject"], table["sex"], strict=True)) == {"01": "male", "02": "female"}
    row = table.set_index("path").loc["Actor_02/02-01-06-02-01-01-02.mp4"]
    assert (row["emotion"], row["intensity"], row["modality"]) == ("fearful", "strong", "02")


def test_both_modalities_of_a_ravdess_recording_show_the_same_pictures(tmp_path):
    write_ravdess(tmp_path, subjects=(1,), emotions=("happy",), intensities=("01",), modalities=("02", "01"), **SMALL)
    first, second = (decode(p)[2] for p in sorted(tmp_path.rglob("*.mp4")))
    np.testing.assert_array_equal(first, second)


def test_statements_and_repetitions_are_different_recordings(tmp_path):
    write_ravdess(
        tmp_path,
        subjects=(1,),
        emotions=("sad",),
        intensities=("01",),
        statements=("01", "02"),
        repetitions=("01", "02"),
        **SMALL,
    )
    firsts = [decode(p)[2][0] for p in sorted(tmp_path.rglob("*.mp4"))]
    assert len({picture.tobytes() for picture in firsts}) == 4


def test_recordings_are_reproducible_byte_for_byte(tmp_path):
    write_ravdess(tmp_path / "one", subjects=(2,), emotions=("angry",), intensities=("02",), **SMALL)
    write_ravdess(tmp_path / "two", subjects=(1, 2), emotions=("happy", "angry"), **SMALL)
    name = "Actor_02/02-01-05-02-01-01-02.mp4"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("write", "emotion", "size", "codec", "rate"),
    [
        (write_ravdess, "happy", (1280, 720), "h264", 29.97),
        (write_enterface, "anger", (720, 576), "mpeg4", 25),
        (write_ised, "disgust", (1920, 1080), "mpeg4", 50),
    ],
)
def test_videos_have_the_format_of_the_corpus(tmp_path, write, emotion, size, codec, rate):
    table = write(tmp_path, emotions=(emotion,), frames=2)
    path = tmp_path / table["path"][0]
    name, fps, pictures = decode(path)
    assert (name, len(pictures), pictures[0].shape) == (codec, table["frames"][0], (*size[::-1], 3))
    assert fps == pytest.approx(rate, abs=0.005)
    capture = cv2.VideoCapture(str(path))
    assert (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) == size
    assert capture.read()[0]


def test_videos_show_the_rendered_frames(tmp_path):
    table = write_ised(tmp_path, subjects=(1,), emotions=("surprise",), **(SMALL | {"frames": 30}))
    peak = cv2.imread(str(tmp_path / table["peak_path"][0]))[..., ::-1]
    pictures = decode(tmp_path / table["path"][0])[2]
    distance = [np.abs(picture.astype(int) - peak).mean() for picture in pictures]
    shown = distance[table["peak_frame"][0] - 1]
    assert shown < 4
    assert shown < min(distance[0], distance[-1])


def test_enterface_has_folders_with_spaces(tmp_path):
    table = write_enterface(tmp_path, subjects=(2,), emotions=("anger", "surprise"), sentences=(1, 5), **SMALL)
    expected = [
        f"subject 2/{e}/sentence {k}/s2_{c}_{k}.avi" for e, c in (("anger", "an"), ("surprise", "su")) for k in (1, 5)
    ]
    expected_files = {"RENDERED.txt", *expected, *(part for path in expected for part in parents(path))}
    assert files(tmp_path, "*") == sorted(expected_files)
    assert table["path"].tolist() == expected
    assert table["sentence"].tolist() == [1, 5, 1, 5]


def parents(path):
    parts = path.split("/")[:-1]
    return ["/".join(parts[: k + 1]) for k in range(len(parts))]


def test_enterface_has_the_oddities_of_the_archive(tmp_path):
    table = write_enterface(
        tmp_path,
        subjects=(3, 6, 11, 16),
        emotions=("disgust", "surprise"),
        sentences=(2, 3),
        oddities=True,
        **SMALL,
    )
    assert files(tmp_path, "*.avi") == sorted(table["path"])
    assert set(table["path"]) == {
        "subject 3/disgust/sentence 2/sentence 2/s_3_di_2.avi",
        "subject 3/disgust/sentence 3/s_3_di_3.avi",
        "subject 3/surprise/sentence 2/s_3_su_2.avi",
        "subject 3/surprise/sentence 3/s_3_su_3.avi",
        "subject 6/disgust/s6_di.avi",
        "subject 6/surprise/s6_su.avi",
        "subject 11/disgust/sentence 2/sentence 2/s12_di_2.avi",
        "subject 11/disgust/sentence 3/s12_di_3.avi",
        "subject 11/surprise/sentence 2/s12_su_2.avi",
        "subject 11/surprise/sentence 3/s12_su_3.avi",
        "subject 16/disgust/sentence 2/sentence 2/s16_di_2.avi",
        "subject 16/disgust/sentence 3/s16_di_3.avi",
        "subject 16/surprise/sentence 2/s16_su_2.avi",
        "subject 16/surprise/sentence 3/s16_su_3avi.avi",
    }
    assert len(files(tmp_path, "Thumbs.db")) == 8
    assert table.loc[table["subject"] == "6", "sentence"].isna().all()


def test_enterface_sentences_of_subject_2_are_swapped_and_subject_23_is_happy_twice(tmp_path):
    options = {"emotions": ("anger", "happiness"), "sentences": (1, 2, 3), **SMALL}
    table = write_enterface(tmp_path / "odd", subjects=(2, 23), oddities=True, **options)
    write_enterface(tmp_path / "plain", subjects=(2,), **options)
    sentences = table[table["subject"] == "2"].set_index("path")["sentence"]
    folder = "subject 2/anger/sentence"
    assert [sentences[f"{folder} {k}/s2_an_{k}.avi"] for k in (1, 2, 3)] == [2, 1, 3]
    odd, plain = ((tmp_path / root / f"{folder} 2/s2_an_2.avi").read_bytes() for root in ("odd", "plain"))
    assert odd != plain
    assert odd == (tmp_path / "plain" / f"{folder} 1/s2_an_1.avi").read_bytes()
    assert len(files(tmp_path / "odd" / "subject 23" / "anger", "*.avi")) == 3
    assert files(tmp_path / "odd" / "subject 23" / "happiness", "*.avi") == [
        f"sentence {k}/s23_ha_{k}.avi" for k in (1, 2)
    ]


def test_ised_details_describe_the_videos(tmp_path):
    table = write_ised(tmp_path, subjects=(1, 4), emotions=("happiness", "disgust"), clips=2, **SMALL)
    details = loadmat(tmp_path / "ISED_details.mat")["ISED_details"]
    assert details.shape == (8, 16)
    assert files(tmp_path / "videos", "*.avi") == sorted(path.removeprefix("videos/") for path in table["path"])
    for cells, (_, row) in zip(details, table.iterrows(), strict=True):
        participant, number, peak = (cells[column].item() for column in (0, 2, 3))
        assert f"videos/PS {participant}/{number}.avi" == cells[4].item() == row["path"]
        assert f"peakImages/{participant}_{number}_{peak}.jpg" == cells[5].item() == row["peak_path"]
        assert (tmp_path / row["peak_path"]).is_file()
        assert {1: "happiness", 4: "disgust"}[cells[6].item()] == row["emotion"]
        who = make_identity(participant, 0)
        assert (cells[8].item(), cells[9].item(), cells[10].item()) == (who.sex, who.spectacles, who.beard)
        x, y, width, height = cells[12].ravel()
        for place in cells[13:16]:
            assert x < place.ravel()[0] < x + width
            assert y < place.ravel()[1] < y + height
        assert cells[13].ravel()[0] == pytest.approx(row["left_eye_x"])
        assert cells[13].ravel()[1] < cells[15].ravel()[1]


def test_hf_parquet_has_pictures_and_labels(tmp_path):
    table = write_hf_parquet(tmp_path / "data" / "train.parquet", rows=9, size=48)
    read = pq.read_table(tmp_path / "data" / "train.parquet").to_pydict()
    assert set(read) == {"image", "qa"}
    assert [qa[0]["answer"].strip().lower() for qa in read["qa"]] == table["emotion"].tolist()
    assert table["emotion"].tolist() == [*HF_EMOTIONS, "anger"]
    for image, path in zip(read["image"], table["path"], strict=True):
        assert image["path"] == path
        assert cv2.imdecode(np.frombuffer(image["bytes"], np.uint8), cv2.IMREAD_COLOR).shape == (48, 48, 3)


def test_hf_parquet_stores_labels_as_text_in_two_spellings(tmp_path):
    table = write_hf_parquet(tmp_path / "train.parquet", rows=4, size=48, text_qa=True)
    texts = pq.read_table(tmp_path / "train.parquet")["qa"].to_pylist()
    read = [json.loads(text) if row % 2 == 0 else ast.literal_eval(text) for row, text in enumerate(texts)]
    assert [type(pairs) for pairs in read] == [list, tuple, list, tuple]
    assert [pairs[0]["answer"].strip().lower() for pairs in read] == table["emotion"].tolist()


def test_bad_rows_of_the_hf_parquet_cannot_be_used(tmp_path):
    table = write_hf_parquet(tmp_path / "train.parquet", rows=2, size=48, bad_rows=True)
    read = pq.read_table(tmp_path / "train.parquet").to_pydict()
    for image, qa, usable in zip(read["image"], read["qa"], table["usable"], strict=True):
        data = np.frombuffer(image["bytes"], np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        known = bool(qa) and qa[0]["answer"].strip().lower() in HF_EMOTIONS
        assert (picture is not None and known) == usable
    assert table["usable"].tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize("write", [write_ravdess, write_enterface, write_ised])
def test_unknown_emotions_are_refused_before_writing(tmp_path, write):
    with pytest.raises(InputError, match="'bored'"):
        write(tmp_path / "corpus", emotions=("bored",))
    assert not (tmp_path / "corpus").exists()


def test_ravdess_videos_with_sound_and_sound_files_say_the_same(tmp_path):
    options = {"subjects": (1,), "emotions": ("calm",), "intensities": ("01",), "repetitions": ("01", "02")}
    table = write_ravdess(tmp_path, modalities=("01", "02", "03"), **options, **SMALL)
    assert files(tmp_path, "*.*4") + files(tmp_path, "*.wav") == sorted(table["path"])
    video, silent, recording = (tmp_path / f"Actor_01/{k}-01-02-01-01-01-01.{e}" for k, e in FORMATS)
    with av.open(video) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
    with pytest.raises(ValueError, match="no sound track"):
        read_sound(silent)
    track, sound = read_sound(video), read_sound(recording)
    assert (track.source_rate, sound.source_rate) == (48_000, 48_000)
    assert sound.seconds == pytest.approx(8 / 29.97, abs=0.001)
    common = min(len(track.samples), len(sound.samples))
    assert np.corrcoef(track.samples[:common], sound.samples[:common])[0, 1] > 0.95
    np.testing.assert_array_equal(decode(video)[2], decode(silent)[2])


def test_some_ravdess_sound_files_are_stereo_as_published(tmp_path):
    options = {"emotions": ("calm",), "intensities": ("01",), "repetitions": ("01", "02")}
    write_ravdess(tmp_path, modalities=("03",), **options, **SMALL)
    channels = {path.name: read_sound(path).channels for path in tmp_path.rglob("*.wav")}
    assert [name for name, count in channels.items() if count == 2] == ["03-01-02-01-01-02-01.wav"]
    assert sorted(channels.values()) == [1, 1, 1, 2]
    with wave.open(str(tmp_path / "Actor_02/03-01-02-01-01-01-02.wav")) as reader:
        assert (reader.getframerate(), reader.getsampwidth()) == (48_000, 2)


def test_audio_video_alone_leaves_no_silent_video(tmp_path):
    options = {"subjects": (1,), "emotions": ("calm",), "intensities": ("01",)}
    write_ravdess(tmp_path, modalities=("01",), **options, **SMALL)
    assert files(tmp_path / "Actor_01", "*") == ["01-01-02-01-01-01-01.mp4"]


def test_enterface_videos_have_a_sound_track_if_asked(tmp_path):
    options = {"subjects": (2,), "emotions": ("anger",), "sentences": (1,), **SMALL}
    path = write_enterface(tmp_path / "with", sound=True, **options)["path"][0]
    assert files(tmp_path / "with", "*.avi") == [path]
    with av.open(tmp_path / "with" / path) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["mpeg4", "pcm_s16le"]
    sound = read_sound(tmp_path / "with" / path)
    assert (sound.source_rate, sound.channels) == (48_000, 2)
    assert sound.seconds == pytest.approx(8 / 25, abs=0.001)
    write_enterface(tmp_path / "without", **options)
    pictures, silent = (decode(tmp_path / root / path) for root in ("with", "without"))
    np.testing.assert_array_equal(pictures[2], silent[2])
    with pytest.raises(ValueError, match="no sound track"):
        read_sound(tmp_path / "without" / path)
