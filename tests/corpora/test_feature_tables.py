"""Feature tables: layouts, matching by name, columns that reveal the emotion, damaged files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fervid.corpora import RAVDESS
from fervid.corpora import feature_tables as module
from fervid.corpora.corpus import Corpus
from fervid.corpora.feature_tables import read_features
from fervid.errors import InputError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = SHARED / "ravdess_features" / "openface_au_means.csv"
SOUND = SHARED / "ravdess_speech"
EMOTIONS = ("angry", "happy", "sad")


@pytest.fixture
def clips():
    """12 clips, c00 to c11, of three emotions in turn."""
    rows = [
        {"clip": f"c{number:02d}", "emotion": EMOTIONS[number % 3], "subject": f"s{number}"} for number in range(12)
    ]
    return pd.DataFrame(rows).assign(corpus="mine")


@pytest.fixture
def per_clip(clips):
    """A table with one row per clip: a = 0, 1, ... / 100, b random."""
    values = np.random.default_rng(0).random((12, 2))
    return pd.DataFrame({"clip": clips["clip"], "a": np.round(values[:, 0], 3), "b": np.round(values[:, 1], 3)})


def per_frame(clips, frames=4):
    rng = np.random.default_rng(1)
    rows = [
        {"clip": clip, "frame": frame, "a": number + frame / 10, "b": rng.random()}
        for number, clip in enumerate(clips["clip"])
        for frame in range(frames)
    ]
    return pd.DataFrame(rows)


def openface(path, values, *, success=None, drop=()):
    """Writes a CSV as OpenFace 2 does: a space after each comma."""
    path.parent.mkdir(parents=True, exist_ok=True)
    success = [1] * len(values) if success is None else success
    lines = ["frame, face_id, timestamp, confidence, success, AU01_r, AU02_r, AU01_c"]
    lines += [
        f"{frame + 1}, 0, {frame / 30:.3f}, {0.98 * ok:.2f}, {ok}, {value:.3f}, {2 * value:.3f}, {frame % 2:.2f}"
        for frame, (value, ok) in enumerate(zip(values, success, strict=True))
    ]
    cells = [line.split(", ") for line in lines]
    kept = [number for number, name in enumerate(cells[0]) if name not in drop]
    path.write_text("\n".join(", ".join(row[number] for number in kept) for row in cells) + "\n")


@pytest.fixture
def faces(clips, tmp_path):
    """A folder with a file of OpenFace for each clip, half of them in sub-folders."""
    for number, clip in enumerate(clips["clip"]):
        openface(tmp_path / "openface" / ("x/y" if number % 2 else "") / f"{clip}.csv", number + np.arange(5) / 10)
    return tmp_path / "openface"


def saved(table, path, **options):
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False, **options)
    return path


def equal(features, others):
    return features.columns == others.columns and all(
        np.array_equal(values, other) for values, other in zip(features.values, others.values, strict=True)
    )


def reasons(features):
    return dict(features.failures.itertuples(index=False, name=None))


@pytest.mark.skipif(not (REAL.exists() and SOUND.exists()), reason=f"no real table or sound in {SHARED}")
def test_published_action_units_fit_all_sounds_of_ravdess(tmp_path):
    """The table names audio-video files (01-), the corpus has audio-only files (03-) of the same recordings."""
    corpus = RAVDESS(SOUND, modality="audio-only").for_sound()
    clips = corpus.inventory.clips
    features = read_features(REAL, clips, recording_of=corpus.recording_of)
    assert len(clips) == 1440
    assert features.failures.empty
    assert features.left_out == ["speech", "index"]
    assert len(features.columns) == 35
    table = pd.read_csv(REAL, sep=";", index_col="name")
    names = [f"01{clip[2:]}" for clip in clips["clip"]]
    assert np.array_equal(np.concatenate(features.values), table.loc[names, features.columns].to_numpy(np.float32))
    lines = REAL.read_text().splitlines()
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([lines[0], *np.random.default_rng(0).permutation(lines[1:])]))
    assert equal(features, read_features(shuffled, clips, recording_of=corpus.recording_of))
    with pytest.raises(InputError, match="none of the 1,440 names in"):
        read_features(REAL, clips)  # names of files and clips differ
    leaky = pd.read_csv(REAL, sep=";").assign(code=lambda table: table["name"].str[6:8].astype(int))
    with pytest.raises(InputError, match="the column 'code', which has 8 values, each with clips of a single emotion"):
        read_features(saved(leaky, tmp_path / "leaky.csv", sep=";"), clips, recording_of=corpus.recording_of)


def test_recording_of_a_name():
    corpus = RAVDESS("anywhere")
    assert corpus.recording_of("01-01-06-01-02-01-12") == corpus.recording_of("03-01-06-01-02-01-12")
    assert corpus.recording_of("01-01-99-01-02-01-12") == "01-01-99-01-02-01-12"
    assert Corpus("anywhere").recording_of("01-01-06-01-02-01-12") == "01-01-06-01-02-01-12"


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("key", ["clip", "name", "video_name", "file", "Filename", "path"])
def test_one_row_per_clip(clips, per_clip, tmp_path, ending, key):
    names = [f"D:\\videos\\{clip}.mp4" for clip in clips["clip"]]
    table = per_clip.rename(columns={"clip": key}).assign(**{key: names}, comment="-").sample(frac=1, random_state=0)
    features = read_features(saved(table, tmp_path / f"table{ending}"), clips)
    assert features.columns == ["a", "b"]
    assert [values.dtype for values in features.values] == [np.float32] * 12
    assert np.array_equal(np.concatenate(features.values), per_clip[["a", "b"]].to_numpy(np.float32))
    assert features.failures.empty


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_are_found(clips, per_clip, tmp_path, separator):
    features = read_features(saved(per_clip, tmp_path / "table.csv", sep=separator), clips)
    assert features.columns == ["a", "b"]


def test_decimal_commas_and_words_for_missing_numbers(clips, per_clip, tmp_path):
    path = saved(per_clip, tmp_path / "table.csv", sep=";", decimal=",")
    path.write_text(
        "\ufeff" + path.read_text().replace(f";{per_clip['b'][3]}".replace(".", ","), ";-nan(ind)"), "utf-8"
    )
    features = read_features(path, clips)
    assert reasons(features) == {"c03": "b is missing or not finite"}
    assert features.values[4] == pytest.approx(per_clip.loc[[4], ["a", "b"]].to_numpy())


def test_leading_zeros_of_names_are_kept(clips, per_clip, tmp_path):
    numbered = clips.assign(clip=[f"{number:03d}" for number in range(12)])
    table = per_clip.assign(clip=numbered["clip"]).rename(columns={"clip": "name"})
    path = saved(table, tmp_path / "table.csv")
    assert read_features(path, numbered).failures.empty
    path.write_text(path.read_text().replace(",", ", ").replace("name", " name"))
    assert read_features(path, numbered).failures.empty


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("order", ["frame", "timestamp"])
def test_one_row_per_frame(clips, tmp_path, ending, order):
    table = per_frame(clips).rename(columns={"frame": order})
    shuffled = table.sample(frac=1, random_state=0, ignore_index=True)
    features = read_features(saved(shuffled, tmp_path / f"table{ending}"), clips)
    assert features.columns == ["a", "b"]
    assert features.left_out == [order]
    assert [values.shape for values in features.values] == [(4, 2)] * 12
    assert features.values[7][:, 0] == pytest.approx([7.0, 7.1, 7.2, 7.3])
    assert equal(features, read_features(saved(table, tmp_path / f"sorted{ending}"), clips))


def test_repeated_names_need_a_column_that_orders_them(clips, per_clip, tmp_path):
    table = pd.concat([per_clip, per_clip.iloc[[2]].assign(a=9)])
    with pytest.raises(InputError, match=r"has 2 rows named 'c02': keep one per clip, or add a column frame"):
        read_features(saved(table, tmp_path / "table.csv"), clips)
    same = pd.concat([per_clip, per_clip.iloc[[2]]])
    assert read_features(saved(same, tmp_path / "same.csv"), clips).failures.empty
    same.loc[2, "b"] = np.nan
    features = read_features(saved(same, tmp_path / "same.csv"), clips)
    assert reasons(features) == {"c02": "b is missing or not finite"}


def test_openface_folder(clips, faces):
    features = read_features(faces, clips)
    assert features.columns == ["AU01_r", "AU02_r", "AU01_c"]
    assert features.left_out == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert features.failures.empty
    assert features.values[5] == pytest.approx(
        np.stack([5 + np.arange(5) / 10, 10 + np.arange(5) / 5, np.arange(5) % 2], axis=1), abs=1e-6
    )


def test_parquet_files_per_clip(clips, tmp_path):
    for clip, rows in per_frame(clips).groupby("clip"):
        saved(rows.drop(columns="clip").sample(frac=1, random_state=0), tmp_path / f"{clip}.parquet")
    whole = read_features(saved(per_frame(clips), tmp_path.parent / "whole.csv"), clips)
    assert equal(read_features(tmp_path, clips), whole)


def test_untracked_and_missing_frames_are_dropped(clips, faces):
    openface(faces / "c00.csv", [1, 2, 3], success=[0, 0, 0])
    openface(faces / "c02.csv", [1, 2, 3], success=[1, 0, 1])
    openface(faces / "c04.csv", [1, np.nan, 3])
    openface(faces / "c06.csv", [np.nan, np.nan])
    features = read_features(faces, clips)
    assert reasons(features) == {
        "openface/c00.csv": "no frame with a tracked face",
        "openface/c06.csv": "AU01_r is missing or not finite in every usable row",
    }
    assert features.values[0] is None
    assert features.values[2][:, 0].tolist() == [1, 3]
    assert features.values[4][:, 0].tolist() == [1, 3]


def test_clips_without_file_or_row_fail(clips, faces, per_clip, tmp_path):
    (faces / "c00.csv").unlink()
    with_paths = clips.assign(path=[f"videos/{clip}.mp4" for clip in clips["clip"]])
    assert reasons(read_features(faces, with_paths)) == {"videos/c00.mp4": "no file in openface"}
    table = saved(per_clip.iloc[1:], tmp_path / "table.csv")
    assert reasons(read_features(table, clips)) == {"c00": "no row in table.csv"}


def test_damaged_files_of_a_folder_fail(clips, faces, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 5)
    (faces / "c00.csv").write_bytes(bytes(range(256)) * 40)
    (faces / "c02.csv").write_bytes(b"")
    (faces / "c04.csv").unlink()
    (faces / "c04.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    (faces / "c06.csv").write_text("frame, AU01_r, AU02_r, AU01_c\n", "utf-16")
    openface(faces / "c08.csv", np.ones(6))
    openface(faces / "c10.csv", np.ones(3), drop=["AU02_r"])
    found = reasons(read_features(faces, clips))
    assert found.pop("openface/c00.csv").startswith("cannot be read: ")
    assert found.pop("openface/c04.parquet").startswith("cannot be read: ")
    assert found == {
        "openface/c02.csv": "cannot be read: it is empty",
        "openface/c06.csv": "cannot be read: it is not text in UTF-8",
        "openface/c08.csv": "cannot be read: it has more than 5 rows",
        "openface/c10.csv": "it lacks the column(s) AU02_r",
    }


def test_columns_that_only_few_files_have_are_not_features(clips, faces):
    header, *lines = (faces / "c00.csv").read_text().splitlines()
    (faces / "c00.csv").write_text("\n".join([f"{header}, AU99_r", *(f"{line}, 1" for line in lines)]))
    features = read_features(faces, clips)
    assert features.columns == ["AU01_r", "AU02_r", "AU01_c"]
    assert features.failures.empty


def test_a_text_in_one_file_fails_that_clip(clips, faces):
    text = (faces / "c00.csv").read_text()
    (faces / "c00.csv").write_text(text.replace("0.300", "high"))
    assert reasons(read_features(faces, clips)) == {"openface/c00.csv": "its column(s) AU01_r are not numeric"}


def test_too_many_rows_of_a_clip_in_a_table_fail(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 4)
    table = pd.concat([per_frame(clips), pd.DataFrame([{"clip": "c01", "frame": 4, "a": 1.0, "b": 1.0}])])
    assert reasons(read_features(saved(table, tmp_path / "table.csv"), clips)) == {"c01": "it has 5 rows, more than 4"}


def test_several_faces_in_a_frame_fail(clips, faces):
    text = (faces / "c00.csv").read_text()
    (faces / "c00.csv").write_text(text + text.splitlines()[2].replace("0.100", "0.700") + "\n")
    (faces / "c02.csv").write_text((text := (faces / "c02.csv").read_text()) + text.splitlines()[2] + "\n")
    features = read_features(faces, clips)
    assert reasons(features) == {"openface/c00.csv": "it has several rows for the frame or time 2: keep one"}
    assert len(features.values[2]) == 5  # the repeated row is equal


@pytest.mark.parametrize("content", [b"", b"\n", bytes(range(256)) * 40, b"clip,a\n", b"clip,a\nc00,1,2\nc01,1,2\n"])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_damaged_tables_are_refused(clips, tmp_path, content, ending):
    path = tmp_path / f"table{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"dataset.features_path=.*table.* cannot be read: .+\.$"):
        read_features(path, clips)


def test_truncated_parquet_is_refused(clips, per_clip, tmp_path):
    path = saved(per_clip, tmp_path / "table.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_features(path, clips)


def test_parquet_that_unpacks_to_too_much_is_refused(clips, tmp_path, monkeypatch):
    monkeypatch.setattr("fervid.corpora.feature_files.MAX_CELLS", 100)
    with pytest.raises(InputError, match=r"it has 48 rows of 4 columns, more than 100 cells"):
        read_features(saved(per_frame(clips), tmp_path / "table.parquet"), clips)


def test_missing_path_and_empty_folder(clips, tmp_path):
    with pytest.raises(InputError, match=r"features_path=.*nowhere does not exist: give a CSV"):
        read_features(tmp_path / "nowhere", clips)
    openface(tmp_path / "faces" / "other.csv", [1, 2])
    with pytest.raises(InputError, match=r"none of the 1 names in .*: they are like other.csv, its clips like c00"):
        read_features(tmp_path / "faces", clips)
    (tmp_path / "faces" / "other.csv").unlink()
    with pytest.raises(InputError, match=r"has no \.csv or \.parquet file"):
        read_features(tmp_path, clips)


def test_table_without_names_of_clips(clips, per_clip, tmp_path):
    with pytest.raises(InputError, match=r"has no column with names of clips: add one of clip, .*; it has a, b\."):
        read_features(saved(per_clip.drop(columns="clip"), tmp_path / "table.csv"), clips)
    with pytest.raises(InputError, match=r"has no clip in row 4: add it"):
        read_features(
            saved(per_clip.assign(clip=per_clip["clip"].mask(per_clip.index == 2)), tmp_path / "t.csv"), clips
        )


def test_empty_rows_are_ignored(clips, per_clip, tmp_path):
    path = saved(per_clip, tmp_path / "table.csv")
    path.write_text(path.read_text().replace("\nc03", "\n,,\nc03") + ",,\n")
    assert read_features(path, clips).failures.empty


def test_tables_without_a_name_or_a_feature(clips, per_clip, tmp_path):
    with pytest.raises(InputError, match="has no names of clips in its rows: add them, like c00"):
        read_features(saved(per_clip.assign(clip=np.nan), tmp_path / "table.csv"), clips)
    numbered = per_clip[["clip"]].assign(number=range(12))
    with pytest.raises(InputError, match="has no features, only columns that number its rows: number"):
        read_features(saved(numbered, tmp_path / "table.csv"), clips)


def test_the_column_whose_names_fit_is_used(clips, per_clip, tmp_path):
    table = per_clip.rename(columns={"clip": "path"}).assign(name="Ann")
    assert read_features(saved(table, tmp_path / "table.csv"), clips).failures.empty


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["AU02_r", "AU01_r"], ["AU01_r", "AU02_r"]),
        ("AU*_r", ["AU01_r", "AU02_r"]),
        (["*_c", "confidence"], ["confidence", "AU01_c"]),
        ("*", ["AU01_r", "AU02_r", "AU01_c"]),
    ],
)
def test_columns_are_selected_by_name_or_pattern(clips, faces, columns, expected):
    assert read_features(faces, clips, columns=columns).columns == expected


def test_columns_that_cannot_be_selected(clips, per_clip, tmp_path):
    path = saved(per_clip.assign(word="x"), tmp_path / "table.csv")
    with pytest.raises(InputError, match=r"feature_columns=AU\* fits no column of .*: it has a, b, clip, word"):
        read_features(path, clips, columns=["a", "AU*"])
    with pytest.raises(InputError, match=r"feature_columns=word selects a column of .* that has no numbers"):
        read_features(path, clips, columns=["word"])
    with pytest.raises(InputError, match=r"feature_columns=\[\] selects nothing"):
        read_features(path, clips, columns=[])
    with pytest.raises(InputError, match=r"has no columns of numbers to use as features: it has clip, word"):
        read_features(saved(per_clip[["clip"]].assign(word="x"), tmp_path / "words.csv"), clips)


def test_odd_column_names_are_harmless(clips, per_clip, tmp_path):
    names = {"a": '=cmd|"/c calc"!A1', "b": "mfcc[1]"}
    path = saved(per_clip.rename(columns=names), tmp_path / "table.csv")
    assert read_features(path, clips).columns == list(names.values())
    assert read_features(path, clips, columns=["mfcc[1]"]).columns == ["mfcc[1]"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("Emotion", lambda number: number % 3, "is named like a label"),
        ("label_id", lambda number: number, "is named like a label"),
        ("code", lambda number: 10 * (number % 3), "has 3 values, each with clips of a single emotion"),
        ("strong", lambda number: number % 6, "has 6 values, each with clips of a single emotion"),
        ("smile", lambda number: number % 3 == 1, "has the same value in all clips of each emotion"),
    ],
)
@pytest.mark.parametrize("frames", [1, 4])
def test_columns_that_reveal_the_emotion_are_refused(clips, tmp_path, name, value, sentence, frames):
    more = pd.concat([clips, clips.assign(clip="d" + clips["clip"])], ignore_index=True)
    number = np.repeat(np.arange(24), frames)
    path = saved(per_frame(more, frames).assign(**{name: value(number)}), tmp_path / "table.csv")
    for columns in (None, "*"):
        with pytest.raises(InputError, match=f"the column '{name}', which {sentence} and would reveal the answer"):
            read_features(path, more, columns=columns)
    assert read_features(path, more, columns=["a", "b"]).columns == ["a", "b"]
    assert read_features(path, more, columns=["a", name]).columns == ["a", name]  # listed on purpose


def test_few_clips_cannot_show_that_a_column_is_a_label(clips, per_clip, tmp_path):
    table = per_clip.iloc[:6].assign(binary=[0, 1, 1, 0, 1, 1])
    assert read_features(saved(table, tmp_path / "table.csv"), clips.iloc[:6]).columns == ["a", "b", "binary"]


def test_constant_and_binary_measurements_are_not_refused(clips, per_clip, tmp_path):
    table = per_clip.assign(constant=1, binary=[0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0])
    features = read_features(saved(table, tmp_path / "table.csv"), clips)
    assert features.columns == ["a", "b", "constant", "binary"]


def test_columns_that_describe_the_row_are_left_out(clips, per_clip, tmp_path):
    table = per_clip.assign(subject=per_clip["a"], number=range(12), empty=np.nan)
    table.index = range(100, 112)
    path = tmp_path / "table.csv"
    table.to_csv(path)
    features = read_features(path, clips)
    assert features.columns == ["a", "b"]
    assert features.left_out == ["Unnamed: 0", "subject", "number"]
    assert features.failures.empty


def test_folders_decide_where_names_are_equal(clips, per_clip, tmp_path):
    nested = clips.assign(clip=[f"{emotion}/{number // 3}.mp4" for number, emotion in enumerate(clips["emotion"])])
    table = per_clip.assign(clip="videos/" + nested["clip"])
    features = read_features(saved(table, tmp_path / "table.csv"), nested)
    assert np.array_equal(np.concatenate(features.values), per_clip[["a", "b"]].to_numpy(np.float32))
    for emotion, number in (("angry", 0), ("happy", 1), ("neutral", 0)):
        openface(tmp_path / "faces" / emotion / f"{number}.csv", [number, 2, 3])
    features = read_features(tmp_path / "faces", nested)
    assert [row for row, values in enumerate(features.values) if values is not None] == [0, 4]
    with pytest.raises(InputError, match=r"the name '0', which fits the clips angry/0.mp4 and happy/0.mp4"):
        read_features(saved(table.assign(clip=[*table["clip"][1:], "0"]), tmp_path / "short.csv"), nested)


def test_suffix_decides_where_names_are_equal_without_it(clips, per_clip, tmp_path):
    alike = clips.assign(clip=[*clips["clip"][:10], "c10.png", "c10.jpg"])
    table = per_clip.assign(clip=[*clips["clip"][:10], "c10.jpg", "c10.png"])
    features = read_features(saved(table, tmp_path / "table.csv"), alike)
    assert features.values[10][0, 0] == np.float32(per_clip["a"][11])
    assert features.values[11][0, 0] == np.float32(per_clip["a"][10])


def test_two_entries_of_a_clip_must_be_equal(clips, faces):
    (faces / "copy").mkdir()
    copy = faces / "copy" / "c00.csv"
    copy.write_bytes((faces / "c00.csv").read_bytes())
    assert read_features(faces, clips).failures.empty
    openface(copy, [1, 2, 3])
    with pytest.raises(
        InputError, match=r"clip c00: the entries 'c00.csv' and 'copy/c00.csv' both fit, with different"
    ):
        read_features(faces, clips)


def test_the_clip_itself_is_preferred_to_other_versions_of_its_recording(per_clip, tmp_path):
    stems = [f"03-01-{emotion:02d}-01-01-01-{subject:02d}" for emotion in (1, 3, 4) for subject in range(1, 5)]
    for stem in stems:
        (tmp_path / "sound" / f"{stem}.wav").parent.mkdir(exist_ok=True)
        (tmp_path / "sound" / f"{stem}.wav").touch()
    corpus = RAVDESS(tmp_path / "sound", modality="audio-only")
    table = per_clip.assign(clip=stems)
    other = table.assign(clip=[f"01{stem[2:]}" for stem in stems], a=table["a"] + 1)

    def first(*tables):
        path = saved(pd.concat(tables), tmp_path / "table.csv")
        return read_features(path, corpus.inventory.clips, recording_of=corpus.recording_of).values[0][0, 0]

    assert first(table, other) == np.float32(per_clip["a"][0])
    assert first(other) == np.float32(per_clip["a"][0] + 1)
    with pytest.raises(InputError, match="both fit, with different values: keep one"):
        first(other, table.assign(clip=[f"02{stem[2:]}" for stem in stems]))


def test_one_row_serves_all_versions_of_a_recording(per_clip, tmp_path):
    stems = [f"{emotion:02d}-01-01-01-{subject:02d}" for emotion in (1, 3, 4) for subject in range(1, 5)]
    for stem in stems:
        (tmp_path / f"01-01-{stem}.mp4").touch()
        (tmp_path / f"02-01-{stem}.mp4").touch()
    corpus = RAVDESS(tmp_path, modality="both")
    path = saved(per_clip.assign(clip=[f"01-01-{stem}" for stem in stems]), tmp_path / "table.csv")
    features = read_features(path, corpus.inventory.clips, recording_of=corpus.recording_of)
    assert np.array_equal(np.concatenate(features.values[:12]), np.concatenate(features.values[12:]))
