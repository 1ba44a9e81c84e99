"""Training on sound, feature tables, clips and their fusion, by command."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from rendered_corpora.enterface import write_enterface
from sound_files import write_sound

from fervid import load_run
from fervid.data.samples import Sample
from fervid.errors import InputError
from fervid.report.systems import comparable, find_systems, reason_not_comparable
from fervid.runs.run import open_run
from fervid.synthetic.corpus import RenderedSubjects

SMALL = ["dataset.identities=9", "dataset.clips=2", "split.val=0.34", "split.test=0.34", "dataset.batch_size=8"]
QUIET = [*SMALL, "logger=none", "+trainer.enable_progress_bar=false"]
CNN = ["sound_encoder.widths=[8,8,16,16]", "sound_encoder.bands=16"]


@pytest.fixture
def trained(fervid_command, cache, tmp_path):
    def run(*words, folder="run"):
        places = [f"hydra.run.dir={tmp_path / folder}"]
        places += [] if any("cache_dir=" in word for word in words) else [f"cache_dir={cache}"]
        fervid_command("train", *words, *QUIET, *places)
        return json.loads((tmp_path / folder / "results.json").read_text()), tmp_path / folder

    return run


def test_probe_of_sound_learns_and_is_loaded_again(trained, capsys, synthetic):
    results, folder = trained("sample=sound", *CNN, "finetune=linear_probe")
    assert results["metrics"]["test/uar"] > 0.2  # chance is 0.125; the network is random
    assert "backbone" not in results["config"]
    output = capsys.readouterr().out
    assert "test, clips" in output
    assert "whole clips" not in output
    table = pd.read_csv(folder / "predictions.csv")
    assert len(table) == table["clip"].nunique() == results["data"]["split"]["test"]
    assert (folder / "sample_predictions.png").exists()  # spectrograms

    model = load_run(folder)
    datamodule = synthetic(sample=Sample(["sound"]), identities=9, clips=2)
    chosen = datamodule.samples.set_index("clip").loc[table["clip"], "clip_row"].to_numpy()
    with torch.no_grad():
        found = model(torch.from_numpy(datamodule.stores["sound"].view(chosen))).softmax(1).numpy()
    columns = [f"prob_{name}" for name in model.class_names]
    assert np.abs(table[columns].to_numpy() - found).max() < 1e-4


def test_training_on_cached_features_of_sound_equals_training_on_sound(trained):
    words = ["sample=sound", *CNN, "finetune=frozen", "trainer.max_epochs=2", "finetune.phases.0.epochs=2"]
    words += ["pooling=attention"]
    cached, _ = trained(*words)
    computed, _ = trained(*words, "finetune.cache_gb=0", folder="computed")
    assert cached["history"][-1]["train/loss"] == pytest.approx(computed["history"][-1]["train/loss"], rel=1e-4)
    assert cached["metrics"]["test/loss"] == pytest.approx(computed["metrics"]["test/loss"], rel=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "mean_and_deviation", "attention", "gru", "tcn", "transformer"])
def test_clips_are_trained_with_every_pooling(trained, pooling):
    results, folder = trained(
        "sample=clip", "sample.frames=2", "backbone=lenet", "head=linear", f"pooling={pooling}", "trainer.max_epochs=1"
    )
    assert np.isfinite(results["metrics"]["test/loss"])
    table = pd.read_csv(folder / "predictions.csv")
    assert len(table) == table["clip"].nunique()
    assert load_run(folder)(torch.rand(2, 2, 3, 28, 28)).shape == (2, 8)


def test_clips_use_the_cached_features_of_the_frame_recogniser(trained, capsys, tmp_path):
    shared = [f"cache_dir={tmp_path / 'cache'}", "backbone=lenet", "head=linear", "finetune=frozen"]
    trained("sample=frame", *shared, "trainer.max_epochs=1")
    assert "are computed now, once" in " ".join(capsys.readouterr().out.split())
    trained("sample=clip", "sample.frames=4", *shared, "trainer.max_epochs=1", folder="clips")
    assert "all are in the cache" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("fusion", ["late", "concatenation", "gated", "cross_attention"])
def test_fusion_answers_with_each_modality_alone(trained, capsys, fusion):
    results, folder = trained(
        *("sample=clip_sound", "sample.frames=2", "backbone=lenet", "head=linear", f"fusion={fusion}", *CNN),
        *("trainer.max_epochs=1", "finetune=frozen"),
    )
    for modality in ("image", "sound"):
        assert 0 <= results["metrics"][f"test_{modality}/uar"] <= 1
        assert f"test, {modality} alone" in capsys.readouterr().out or modality == "sound"
    model = load_run(folder)
    sound = torch.randn(2, 16_000) * 0.1
    alone = model({"sound": sound})
    both = model({"sound": sound, "image": torch.rand(2, 2, 3, 28, 28)})
    assert alone.shape == both.shape == (2, 8)
    assert alone.isfinite().all()
    assert not torch.allclose(alone, both)


def test_probe_of_several_modalities_multiplies_their_probabilities(trained):
    results, folder = trained(
        *("sample=clip_sound", "sample.frames=2", "backbone=lenet", "head=linear", *CNN, "finetune=linear_probe")
    )
    assert set(results["probe"]) == set(results["modality_weights"]) == {"image", "sound"}
    model = load_run(folder)
    given = {"image": torch.rand(4, 2, 3, 28, 28), "sound": torch.randn(4, 16_000) * 0.1}
    with torch.no_grad():
        alone = {name: model({name: x}).softmax(1) for name, x in given.items()}
        both = model(given).softmax(1)
    product = torch.stack([alone[name] ** weight for name, weight in results["modality_weights"].items()]).prod(0)
    torch.testing.assert_close(both, product / product.sum(1, keepdim=True), rtol=1e-3, atol=1e-5)


def test_subject_normalisation_helps_and_is_disclosed(trained, fervid_command, capsys):
    words = ["sample=sound", *CNN, "finetune=linear_probe"]
    plain, _ = trained(*words)
    normalised, folder = trained(*words, "finetune.subject_normalisation=true", folder="normalised")
    assert normalised["metrics"]["test/uar"] > plain["metrics"]["test/uar"]
    assert any("normalised by subject" in warning for warning in normalised["warnings"])
    with pytest.raises(SystemExit):
        fervid_command("evaluate", f"run={folder}")
    assert "normalised by subject" in capsys.readouterr().err
    systems, _, _ = find_systems([open_run(folder), open_run(folder.parent / "run")])
    assert len(comparable(systems)) == 2
    assert "only one of the two standardises features by subject" in reason_not_comparable(*systems)


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["sample=sound", "~sound_encoder"], "needs sound_encoder=<name>"),
        (["sample=clip_sound", "sample.frames=2", "~fusion"], "needs a fusion"),
        (["sample=clip", "~pooling"], "needs a pooling"),
        (["sample=features"], "no feature tables"),
        (["sample=sound", "identity=face_mobilenetv1"], "identity"),
        (["sample=clip_sound", "fusion=gated", "finetune=linear_probe"], "give fusion=late"),
        (
            ["sample=clip", "pooling=gru", "finetune=linear_probe", "backbone=lenet", "head=linear"],
            "pooling without weights",
        ),
        (["sample=sound", "finetune.subject_normalisation=true"], "subject_normalisation"),
        (["sample=clip_sound", "finetune.phases.0.unfreeze_from=sound.nothing"], "has no stage 'nothing'"),
        (["sample=clip_sound", "finetune.phases.0.unfreeze_from=nose.all"], "unfreeze_from=nose.all is unknown"),
        (["sample=clip_sound", "recipe=mixup"], "mix a single modality"),
        (["sample=sound", *CNN, "recipe=cutmix"], "CutMix cuts pictures"),
        (["sample=sound", *CNN, "task.test_flips=true"], "mirrors pictures"),
    ],
)
def test_mistakes_are_one_sentence(fervid_command, capsys, words, match, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("train", *words, *QUIET, "dataset.frames=2", f"hydra.run.dir={tmp_path}")
    error = capsys.readouterr().err
    assert match in " ".join(error.split())
    assert "Traceback" not in error


def test_evaluation_predicts_clips_as_the_run_did(trained, fervid_command, capsys, tmp_path):
    _, folder = trained(
        "sample=clip_sound", "sample.frames=2", "backbone=lenet", "head=linear", *CNN, "finetune=linear_probe"
    )
    capsys.readouterr()
    fervid_command("evaluate", f"run={folder}", f"hydra.run.dir={tmp_path / 'evaluation'}")
    assert "equals the value recorded by the run" in " ".join(capsys.readouterr().out.split())


def test_order_of_modalities_does_not_matter(synthetic):
    first, second = (synthetic(sample=Sample(names, frames=2)) for names in (["sound", "image"], ["image", "sound"]))
    assert first.folder == second.folder
    assert list(first.stores) == ["image", "sound"]


@pytest.mark.parametrize("sample", ["sound", "clip"])
def test_mixup_trains_on_sounds_and_clips(trained, sample):
    words = [*CNN] if sample == "sound" else ["sample.frames=2", "backbone=lenet", "head=linear"]
    results, _ = trained(f"sample={sample}", "recipe=mixup", "trainer.max_epochs=1", *words)
    assert np.isfinite(results["metrics"]["train/loss"])


def test_run_of_an_encoder_from_files_is_loaded_without_them(trained, fervid_command, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, decoder_layers=1, vocab_size=60
    )
    transformers.WhisperForAudioClassification(config).save_pretrained(tmp_path / "weights")
    words = ["sample=sound", "sound_encoder=transformers", f"sound_encoder.weights={tmp_path / 'weights'}"]
    results, folder = trained(*words, "finetune=linear_probe")
    shutil.rmtree(tmp_path / "weights")
    assert load_run(folder)(torch.randn(2, 8_000)).shape == (2, 8)

    results["encoder_settings"]["sound_encoder"]["options"]["x"] = {"_target_": "os.system", "command": "true"}
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=r"refers to os.system"):
        load_run(folder)


def test_videos_whose_sound_cannot_be_used_are_left_out_of_fusion(fervid_command, cache, tmp_path):
    emotions, size = ["anger", "happiness"], {"sentences": [1], "frames": 4, "width": 240, "height": 192}
    root, other = tmp_path / "eNTERFACE", tmp_path / "without_sound"
    shown = write_enterface(root, subjects=range(1, 7), emotions=emotions, sound=True, **size)["path"]
    mute, silent = shown[0], shown[3]
    write_enterface(other, subjects=[1], emotions=emotions, **size)
    shutil.copyfile(other / mute, root / mute)
    write_sound(root / silent, np.zeros((1, 16_000)), pictures=True)
    fervid_command(
        *("train", "dataset=enterface", f"dataset.root={root}", "dataset.frame_stride=1", "dataset.max_failures=0.2"),
        *("sample=clip_sound", "sample.frames=2", "backbone=lenet", "finetune=full", "trainer.max_epochs=1", *CNN),
        *(
            "split=stratified",
            "dataset.batch_size=4",
            "logger=none",
            f"cache_dir={cache}",
            f"hydra.run.dir={tmp_path}/run",
        ),
    )
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["data"]["clips"] == len(shown) - 2
    failures = pd.read_csv(tmp_path / "run" / "failures.csv").groupby("path")["reason"].agg("; ".join)
    assert "has no sound track" in failures[mute]
    assert "silent" in failures[silent]


def test_frames_of_a_clip_keep_the_features_that_the_head_of_the_network_uses(trained):
    words = ["dataset.identities=12", "dataset.frames=4", "dataset.batch_size=16", "trainer.max_epochs=8"]
    results, _ = trained("sample=clip", "sample.frames=2", "backbone=lenet", *words)
    # With a mean over each map instead of the dense layers of LeNet, nothing was learned (15%).
    assert results["history"][-1]["train/uar"] > 0.5
    assert results["choices"]["head"] == "lenet"


def test_scores_of_a_modality_alone_need_a_network_that_answers_without_the_others(trained):
    words = ["sample=clip_sound", "sample.frames=2", "backbone=lenet", *CNN, "trainer.max_epochs=1"]
    results, _ = trained(*words, "fusion=gated", "fusion.modality_dropout=0")
    assert not any(name.startswith(("test_image", "test_sound")) for name in results["metrics"])


@pytest.fixture
def lengthening(monkeypatch):
    """Gives the rendered sounds different lengths."""
    voices = RenderedSubjects.open_sounds

    def cut(self, rows):
        voice = voices(self, rows)
        return lambda row: voice(row)[: 8_000 + 80 * row]

    monkeypatch.setattr(RenderedSubjects, "open_sounds", cut)


@pytest.mark.usefixtures("lengthening")
def test_features_of_splits_with_other_longest_sounds_are_kept_apart(trained, fervid_command, tmp_path):
    words = ["sample=sound", *CNN, "pooling=gru", "finetune=frozen", "trainer.max_epochs=1"]
    _, folder = trained(*words, f"cache_dir={tmp_path}/first")
    clips = pd.read_parquet(folder / "manifest.parquet")[["clip", "split"]]

    def metrics(name, cache):
        own = [word for word in QUIET if not word.startswith("split.")]
        places = [f"split.path={tmp_path}/{name}.csv", f"cache_dir={tmp_path}/{cache}"]
        fervid_command("train", *words, *own, "split=csv", *places, f"hydra.run.dir={tmp_path}/{name}_{cache}")
        return json.loads((tmp_path / f"{name}_{cache}" / "results.json").read_text())["metrics"]

    for name, chosen in {"shorter": clips.iloc[:-20], "all": clips}.items():  # the longest sounds are the last
        chosen.to_csv(tmp_path / f"{name}.csv", index=False)
        assert metrics(name, "shared") == metrics(name, name)


def test_sounds_that_an_encoder_cannot_use_are_named_before_training(fervid_command, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(RenderedSubjects, "open_sounds", lambda self, rows: lambda row: np.ones(300 + row, np.int16))
    with pytest.raises(SystemExit):
        fervid_command("train", "sample=sound", *CNN, *QUIET, f"cache_dir={tmp_path}", f"hydra.run.dir={tmp_path}/run")
    error = " ".join(capsys.readouterr().err.split())
    assert "100 of 144 sounds cannot be used (first: " in error
    assert "this sound encoder accepts 0.025 to inf s" in error
