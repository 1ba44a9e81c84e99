"""Recipes by command: they can be combined, are recorded, and their runs resume like any other."""

import json

import pytest
import torch

SMALL = [
    *("experiment=smoke", "finetune.phases.0.epochs=2", "finetune.phases.1.epochs=2", "trainer.max_epochs=4"),
    "+trainer.enable_progress_bar=false",
]
RECIPES = "recipe=[warmup_cosine,layer_decay,mixup,cutmix,label_smoothing,random_erasing,large_batch]"


@pytest.fixture
def run(fervid_train, tmp_path):
    def train(name, *words):
        fervid_train(*SMALL, *words, f"hydra.run.dir={tmp_path / name}")
        return json.loads((tmp_path / name / "results.json").read_text())

    return train


def test_combined_recipes_are_recorded_and_resumed(run, tmp_path):
    whole = run("whole", RECIPES)
    assert whole["choices"]["recipe"] == (
        "[warmup_cosine,layer_decay,mixup,cutmix,label_smoothing,random_erasing,large_batch]"
    )
    assert whole["choices"]["optimizer"] == "adamw"
    rates = [(row["lr/backbone"], row["lr/head"]) for row in whole["history"]]
    assert rates[0] == (pytest.approx(0.75 * rates[0][1]), rates[0][1])
    assert rates[2][1] < rates[0][1]  # a tenth of it in the second phase

    run("resumed", RECIPES, "trainer.max_epochs=3")
    checkpoint = tmp_path / "resumed" / "checkpoints" / "last.ckpt"
    resumed = run("again", RECIPES, f"ckpt_path={checkpoint}")
    unlike = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in unlike} for row in resumed["history"]] == [
        {k: v for k, v in row.items() if k not in unlike} for row in whole["history"]
    ]
    states = [torch.load(tmp_path / name / "checkpoints" / "best.ckpt")["state_dict"] for name in ("whole", "again")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task.layer_decay=0", "task.layer_decay=0 is out of range: use above 0 to 1."),
        ("task.mixup=-1", "task.mixup=-1 is out of range: use 0 or more."),
        ("task.sam=-1", "task.sam=-1 is out of range: use 0 or more."),
        ("+trainer.accumulate_grad_batches=2 task.sam=0.1", "task.sam=0.1 needs an optimizer step for each batch"),
        (
            "+callbacks.averaged_weights.decay=1",
            "callbacks.averaged_weights.decay=1 is out of range: use above 0 to below 1.",
        ),
        ("scheduler.warmup=1", "scheduler.warmup=1 is out of range: use 0 to below 1."),
    ],
)
def test_settings_out_of_range(run, capsys, word, message):
    with pytest.raises(SystemExit):
        run("run", "recipe=warmup_cosine", *word.split())
    assert message in " ".join(capsys.readouterr().err.split())
