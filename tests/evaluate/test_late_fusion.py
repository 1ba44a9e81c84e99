"""``python -m fervid.evaluate`` with ``combine``, ``weights=learned`` and ``posteriors``, and across modalities."""

import numpy as np
import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.evaluate import evaluation, opening
from fervid.evaluate.combining import combine, fit_weights
from fervid.evaluate.members import Member, align, leave_out_seen
from fervid.evaluate.predicting import predict_member
from fervid.metrics.aggregation import class_indices
from fervid.runs.run import Run, open_run
from fervid.schema.predictions import probabilities

EMOTIONS = ["angry", "happy", "sad"]


def output(capfd):
    return " ".join(capfd.readouterr().out.split())


def member_runs(folder):
    return [open_run(path.parent) for path in sorted((folder / "members").glob("*/results.json"))]


@pytest.fixture
def posteriors(trained, tmp_path):
    """Writes made-up posteriors of all clips of the corpus, named as the audio-video files; returns the path."""

    def make(name="elsewhere.csv", without=(), columns=("Anger", "Happiness", "Sadness")):
        clips = sorted(path.stem for path in trained.corpus.rglob("*.mp4"))
        table = pd.DataFrame(np.random.default_rng(0).dirichlet([1, 1, 1], len(clips)), columns=list(columns))
        table["video_name"] = [f"01{clip[2:]}" for clip in clips]
        table = table[~table["video_name"].isin(without)].sample(frac=1, random_state=0)
        table.to_csv(tmp_path / name, index=False, sep=";")
        return tmp_path / name

    return make


@pytest.mark.parametrize(("words", "rule"), [([], "mean"), (["combine=product"], "product")])
def test_a_table_is_combined_with_a_run(words, rule, fervid_evaluate, trained, posteriors, capfd):
    path = posteriors()
    folder = fervid_evaluate(f"run={trained.folder}", f"posteriors={path}", "weights=[1,3]", *words, drawn=True)
    run, table = member_runs(folder)
    whole = open_run(folder / "ensemble")
    rows = pd.read_csv(path, sep=";").set_index("video_name").loc["01" + run.predictions["clip"].str[2:]]
    np.testing.assert_allclose(probabilities(table.predictions, EMOTIONS), rows[["Anger", "Happiness", "Sadness"]])
    members = [probabilities(each.predictions, EMOTIONS) for each in (run, table)]
    expected = combine(members, np.array([0.25, 0.75]), rule)
    np.testing.assert_allclose(probabilities(whole.predictions, EMOTIONS), expected)
    assert whole.results["ensemble"] == {
        "members": [str(trained.folder), str(path)],
        "weights": [0.25, 0.75],
        "weights_from": "given",
        "combine": rule,
    }
    assert whole.setting("ensemble.combine") == rule
    assert (run.level, table.level, whole.level) == ("subject-independent", "unknown-subjects", "unknown-subjects")
    assert table.results["data"]["split"] == {"train": 0, "val": 0, "test": 6}
    assert table.results["evaluated"] == str(path)
    printed = output(capfd)
    assert "elsewhere: posteriors of 3 clips from" in printed
    assert "matched by recording and used for each frame of a clip. It is unknown what its model was" in printed
    assert f"(combine={rule}); the weights are those given." in printed
    assert "the UAR of" in printed  # the run reproduces its recorded scores
    scored = pd.read_csv(folder / "tables" / "members.csv")["model"]
    assert set(scored) == {"run", "elsewhere", "ensemble" if rule == "mean" else "ensemble (product)"}
    assert set(pd.read_csv(folder / "tables" / "summary.csv")["runs"]) == {1}


def test_two_ensembles_of_the_same_members_are_different_systems(fervid_evaluate, trained, posteriors, fervid_command):
    path = posteriors()
    for rule in ("mean", "product"):
        fervid_evaluate(f"run={trained.folder}", f"posteriors={path}", f"combine={rule}", name=f"out/{rule}")
    out = path.parent / "out"
    report = path.parent / "report"
    fervid_command("report", f"runs={out}/*/ensemble", "resamples=100", f"hydra.run.dir={report}")
    assert len(pd.read_csv(report / "tables" / "summary.csv")) == 2


def test_clips_that_a_table_lacks_are_omitted_for_all_members(fervid_evaluate, trained, posteriors, capfd):
    tested = sorted(open_run(trained.folder).predictions["clip"].unique())
    path = posteriors(without=[f"01{tested[0][2:]}"])
    folder = fervid_evaluate(f"run={trained.folder}", f"posteriors={path}")
    for run in [*member_runs(folder), open_run(folder / "ensemble")]:
        assert sorted(run.predictions["clip"].unique()) == tested[1:]
    printed = output(capfd)
    assert "2 frames of 1 clips that it lacks are omitted" in printed
    assert "recorded" not in printed  # scores of other frames are not compared with those recorded by the run


def test_emotions_that_only_the_table_has_are_left_out(fervid_evaluate, trained, tmp_path, capfd):
    clips = open_run(trained.folder).predictions["clip"].unique()
    table = pd.DataFrame({"clip": clips, "happy": 0.2, "sad": 0.1, "angry": 0.1, "calm": 0.6})
    table.to_csv(tmp_path / "four.csv", index=False)
    folder = fervid_evaluate(f"run={trained.folder}", f"posteriors={tmp_path / 'four.csv'}")
    _, four = member_runs(folder)
    np.testing.assert_allclose(probabilities(four.predictions, EMOTIONS), [[0.25, 0.5, 0.25]] * 6)
    assert "the probability of calm, which not every run classifies, is redistributed" in output(capfd)


def test_a_table_of_another_corpus(fervid_evaluate, trained, posteriors):
    corpus = ("dataset=ravdess", f"dataset.root={trained.corpus}", "dataset.emotions=[angry,happy]")
    words = ("dataset.frame_stride=10", f"posteriors={posteriors()}")
    folder = fervid_evaluate(f"run={trained.folder}", *corpus, *words)
    run, table = member_runs(folder)
    assert (run.class_names, table.class_names) == (["angry", "happy"], ["angry", "happy"])
    assert len(table.predictions) == len(run.predictions) == 4 * 2 * 2
    np.testing.assert_allclose(probabilities(table.predictions, ["angry", "happy"]).sum(axis=1), 1)
    models = pd.read_csv(folder / "tables" / "all_emotions.csv")["model"]
    assert set(models) == {"run", "elsewhere"}


def test_learned_weights_are_those_of_the_validation_subset(fervid_evaluate, trained, copy, capfd):
    other = copy("other")
    table = pd.read_csv(other / "predictions_val.csv")
    columns = [f"prob_{name}" for name in EMOTIONS]
    right = np.array([[name == label for name in EMOTIONS] for label in table["label"]])
    table[columns] = np.where(right, 0.6, 0.2)
    table.to_csv(other / "predictions_val.csv", index=False)
    folder = fervid_evaluate(f"run=[{trained.folder},{other}]", "weights=learned", "combine=product")
    whole = open_run(folder / "ensemble")
    runs = [open_run(trained.folder), open_run(other)]
    members = [probabilities(run.validation, EMOTIONS) for run in runs]
    expected = fit_weights(members, class_indices(runs[0].validation["label"], EMOTIONS), "product")
    np.testing.assert_allclose(whole.results["ensemble"]["weights"], expected)
    assert expected[1] > 0.5
    assert whole.results["ensemble"]["weights_from"] == "learned"
    assert whole.results["ensemble"]["validation"]["samples"] == len(table)
    assert "the weights minimise the log-loss of 6 validation samples" in output(capfd)
    np.testing.assert_allclose(
        probabilities(whole.validation, EMOTIONS), combine(members, expected, "product"), atol=1e-6
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("has no labels of its own, give run=", ["posteriors={table}"]),
        ("combine=vote is unknown: choose mean or product", ["run={run}", "combine=vote"]),
        ("which the table elsewhere does not have", ["run={run}", "posteriors={table}", "weights=learned"]),
        ("for 1 run and 1 table", ["run={run}", "posteriors={table}", "weights=[1]"]),
        ("posterior_values=odds is unknown", ["run={run}", "posteriors={table}", "posterior_values=odds"]),
        ("is not a file, and no file matches it", ["run={run}", "posteriors=[{table},nowhere.csv]"]),
        ("embs0, embs1, embs2, but their emotions are unknown", ["run={run}", "posteriors={numbered}"]),
        (
            "has no probability of angry, which the runs classify: it has happy, sad, calm",
            ["run={run}", "posteriors={numbered}", "posterior_classes=[happy,sad,calm]"],
        ),
    ],
)
def test_invalid_settings(message, words, fervid_evaluate, trained, posteriors, capfd):
    numbered = posteriors("numbered.csv", columns=("embs0", "embs1", "embs2"))
    names = {"run": trained.folder, "table": posteriors(), "numbered": numbered}
    with pytest.raises(SystemExit):
        fervid_evaluate(*[word.format(**names) for word in words])
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_tables_without_a_common_clip_are_refused(fervid_evaluate, trained, posteriors, capfd):
    tested = sorted(f"01{clip[2:]}" for clip in open_run(trained.folder).predictions["clip"].unique())
    one, other = posteriors("one.csv", tested[:1]), posteriors("other.csv", tested[1:])
    with pytest.raises(SystemExit):
        fervid_evaluate(f"run={trained.folder}", f"posteriors=[{one},{other}]")
    assert "no evaluated clip is in all of" in capfd.readouterr().err


def as_sound(member):
    """Makes a member look like a sound run: one row per clip, with the names of the audio-only files."""
    first = member.frames[member.frames["frame"] == 0]
    member.frames = first.assign(clip="03" + first["clip"].str[2:]).iloc[::-1]


@pytest.mark.parametrize("sound", [0, 1])
def test_a_member_with_one_row_per_clip_joins_each_frame(sound, fervid_evaluate, trained, copy, monkeypatch, capfd):
    other, open_all, batches = copy("other"), opening.open_members, []

    def open_members(runs, config):
        opened = open_all(runs, config)
        as_sound(opened[sound])
        return opened

    def predict(member, *options):
        predict_member(member, *options)
        batches.append(member.batches.pictures)

    monkeypatch.setattr(opening, "open_members", open_members)
    monkeypatch.setattr(evaluation, "predict_member", predict)
    folder = fervid_evaluate(f"run=[{trained.folder},{other}]")
    before = open_run(trained.folder).predictions
    whole, written = open_run(folder / "ensemble"), member_runs(folder)
    pd.testing.assert_frame_equal(whole.predictions[["clip", "frame"]], before[["clip", "frame"]])
    first = before.groupby("clip")[[f"prob_{name}" for name in EMOTIONS]].transform("first")
    np.testing.assert_allclose(probabilities(written[sound].predictions, EMOTIONS), first, atol=1e-5)
    np.testing.assert_allclose(
        probabilities(written[1 - sound].predictions, EMOTIONS), probabilities(before, EMOTIONS), atol=1e-5
    )
    assert batches[sound] == 3  # each clip is predicted once
    printed = output(capfd)
    names = [run.folder.name.partition("_")[2] for run in written]
    assert f"{names[sound]} has one prediction per clip, which is used for each frame of the clip." in printed
    assert "matched by the column recording" in printed
    assert printed.count("equals the value recorded by the run") == 1  # not of the repeated rows


def stored_member(name, split, clips, frame_numbers, modality):
    rows = [(f"{modality}-{clip}", clip, clip[0], frame) for clip in clips for frame in frame_numbers]
    frames = pd.DataFrame(rows, columns=["clip", "recording", "subject", "frame"])
    frames = frames.assign(corpus="ravdess", emotion="happy", split=split)
    run = Run(name, {"task": "classification", "class_names": ["happy", "sad"]})
    return Member(run, name, frames.iloc[:0], None, frames)


def test_modalities_may_lack_clips_on_their_own_corpus():
    """A clip without a face, and one without sound."""
    face = stored_member("face", "test", ["a1", "a2", "b1"], (0, 8), "02")
    sound = stored_member("sound", "test", ["b1", "a2", "c1"], (0,), "03")
    found = align([face, sound], own_corpus=True)
    assert face.frames["clip"].tolist() == ["02-a2", "02-a2", "02-b1", "02-b1"]
    assert sound.frames["recording"].tolist() == face.frames["recording"].tolist()
    assert (face.is_whole, sound.is_whole) == (False, False)
    assert found.unused == [2, 1]


def test_frames_of_one_modality_must_be_the_same_on_their_own_corpus():
    one = stored_member("one", "test", ["a1", "a2"], (0, 8), "02")
    same = stored_member("same", "test", ["a2", "a1"], (0, 8), "02")
    other = stored_member("other", "test", ["a2", "b1"], (0, 8), "02")
    with pytest.raises(InputError, match="one and other were tested on different frames"):
        align([one, same, other], own_corpus=True)
    assert align([one, same, other], own_corpus=False).unused == [2, 2, 2]


def test_modalities_without_a_common_clip_were_tested_on_different_frames():
    face = stored_member("face", "test", ["a1"], (0, 8), "02")
    sound = stored_member("sound", "test", ["b1"], (0,), "03")
    with pytest.raises(InputError, match="face and sound were tested on different frames"):
        align([face, sound], own_corpus=True)


def test_clips_seen_by_any_modality_are_left_out():
    face = stored_member("face", "test", ["a1", "b1"], (0,), "02")
    sound = stored_member("sound", "test", ["a1", "b1"], (0,), "03")
    face.seen, sound.seen = face.frames.iloc[:0], sound.frames.iloc[1:].assign(subject=None)
    align([face, sound], own_corpus=True)
    assert leave_out_seen([face, sound]) == 1
    assert face.frames["recording"].tolist() == sound.frames["recording"].tolist() == ["a1"]
