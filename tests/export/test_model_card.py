"""The model card of an exported network."""

import json
import re
import shutil

import numpy as np
import pytest
from markdown_it import MarkdownIt
from omegaconf import OmegaConf

from fervid.corpora import RAVDESS, ImageFolder
from fervid.export.model_card import (
    faces_in_words,
    first_weights,
    model_card,
    without_folders,
)
from fervid.runs.load import stored_config
from fervid.runs.run import open_run


def card(folder, files=()):
    run = open_run(folder)
    return model_card(run, stored_config(run.results, folder), files)


def tables(text):
    """The cells of each table, rendered as any reader of Markdown does."""
    found, row = [], None
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            row = []
            found[-1].append(row)
        elif token.type == "inline" and before.type in ("td_open", "th_open"):
            row.append("".join(child.content for child in token.children))
    return found


def changed(trained, tmp_path, change, predictions=None):
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder, dirs_exist_ok=True)
    results = json.loads((folder / "results.json").read_text())
    change(results)
    (folder / "results.json").write_text(json.dumps(results))
    if predictions is not None:
        table = open_run(trained.folder).predictions
        predictions(table).to_csv(folder / "predictions.csv", index=False)
    return folder


def test_card_describes_the_run_in_valid_tables(trained):
    text = card(trained.folder, ["model.onnx", "run_onnx.py"])
    results = open_run(trained.folder).results
    about, split, scores, emotions, training = (found for found in tables(text) if found[0][0] or len(found) > 2)
    assert dict(about[1:])["emotions"] == "angry, happy, sad"
    assert split[0] == ["emotion", "train", "val", "test"]
    counts = results["data"]["split"]
    assert split[-1] == ["total", *(str(counts[subset]) for subset in ("train", "val", "test"))]
    assert [row[0] for row in scores] == ["unit", "frames", "clips"]
    assert scores[1][2].startswith(f"{results['metrics']['test/uar']:.1%}")
    assert scores[2][2].startswith(f"{results['metrics']['test/clip_uar']:.1%}")
    assert emotions[1][:3] == ["angry", "2", f"{results['recall']['angry']:.1%}"]
    assert dict(training[1:])["seed"] == "42"
    assert all(len(row) == len(found[0]) for found in tables(text) for row in found)
    assert "python run_onnx.py face.png" in text
    assert "subject-independent" in text
    assert "All faces are rendered" in text
    assert "are rendered by a few rules" in text
    for place in (trained.corpus, trained.folder, trained.cache):
        assert str(place) not in text
    assert not re.search(r"\bnan\b|None|\{\{|\n\n\n", text)


def ten_subjects(table):
    """Predictions for ten subjects, five women, all classified correctly, and five men, all misclassified."""
    table = table.loc[np.repeat(table.index, 10)].reset_index(drop=True)
    table["subject"] = [str(number % 10) for number in range(len(table))]
    table["clip"] = [f"clip {number % 10} {number // 20}" for number in range(len(table))]
    table["sex"] = ["female" if number % 2 else "male" for number in range(len(table))]
    others = {"angry": "happy", "happy": "sad", "sad": "angry"}
    right = table["sex"] == "female"
    table["predicted"] = table["label"].where(right, table["label"].map(others))
    for name in others:
        table[f"prob_{name}"] = np.where(table["predicted"] == name, 0.8, 0.1)
    return table


def ten_subject_results(results):
    results["confusion"] = [[10, 10, 0], [0, 10, 10], [10, 0, 10]]
    results["metrics"]["test/uar"] = 0.5


def test_scores_are_listed_by_sex(trained, tmp_path):
    text = card(changed(trained, tmp_path, ten_subject_results, ten_subjects))
    rows = {row[0]: row for found in tables(text) for row in found}
    assert rows["sex: female"][1:] == ["5", "30", "100.0% (100.0% to 100.0%)", "100.0% (100.0% to 100.0%)"]
    assert rows["sex: male"][1:] == ["5", "30", "0.0% (0.0% to 0.0%)", "0.0% (0.0% to 0.0%)"]
    assert re.fullmatch(r"50\.0% \(\d+\.\d% to \d+\.\d%\)", rows["frames"][2])
    assert "it has not been measured" not in text
    assert "The test included only 10 subjects" in text
    # A CSV of one's own may say gender.
    folder = tmp_path / "run"
    table = open_run(folder).predictions.rename(columns={"sex": "gender"})
    table.to_csv(folder / "predictions.csv", index=False)
    assert "gender: female" in card(folder)


def test_equal_subject_names_in_two_corpora_are_two_subjects(trained, tmp_path):
    def namesakes(table):
        table = ten_subjects(table)
        return table.assign(
            corpus=["one" if number % 10 < 5 else "other" for number in range(len(table))], subject="01"
        )

    text = card(changed(trained, tmp_path, ten_subject_results, namesakes))
    assert "The test included only 2 subjects" in text
    rows = {row[0]: row for found in tables(text) for row in found}
    assert rows["sex: female"][1] == rows["sex: male"][1] == "2"
    assert rows["sex: female"][3] == "100.0% (100.0% to 100.0%)"  # of a single person there is no interval


def test_unknown_sex_and_subjects_are_stated(trained, tmp_path):
    folder = changed(
        trained,
        tmp_path,
        ten_subject_results,
        lambda table: ten_subjects(table).drop(columns="sex").assign(subject=None),
    )
    text = card(folder)
    assert "it has not been measured whether the network works equally well for women and men" in text
    assert "bootstrap intervals over clips, since the subjects are unknown" in text


def test_special_characters_in_names_keep_tables_intact(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained.folder, folder)
    for path in (folder / "results.json", folder / "predictions.csv"):
        path.write_text(re.sub(r"\bhappy\b|(?<=prob_)happy", "very|*happy*", path.read_text()))
    found = tables(card(folder))
    assert all(len(row) == len(each[0]) for each in found for row in each)
    assert ["very|*happy*", "2"] in [row[:2] for each in found for row in each]


def test_licence_and_citation_come_from_the_corpus_record(trained, tmp_path):
    facts = {name: getattr(RAVDESS, name) for name in ("licence", "citation", "expressions")}

    def recorded(results):
        results["data"].update(rendered=False, corpora=[results["data"]["corpora"][0] | facts])

    text = card(changed(trained, tmp_path, recorded))
    assert "CC BY-NC-SA 4.0" in text
    assert "PLoS ONE 13(5), 2018. https://doi.org/10.5281/zenodo.1188976" in text
    assert "are acted by actors" in text
    assert "CC BY-NC-SA" not in card(trained.folder)
    assert ImageFolder(tmp_path).about()["licence"].startswith("unknown")


def test_leakage_and_warnings_are_listed(trained, tmp_path):
    def leak(results):
        results["leakage"]["level"] = "leaky"
        results["warnings"] = [f"the file {trained.corpus}/a.pth is of *another* network."]

    text = card(changed(trained, tmp_path, leak))
    assert "Leakage level: **leaky**" in text
    assert "almost nothing about new pictures" in text
    assert "- the file a.pth is of \\*another\\* network." in text


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"requested": None, "source": "random"}, "random; the network was trained only on"),
        ({"requested": "DEFAULT", "source": "random", "missing": "no network"}, "random (DEFAULT was requested"),
        (
            {"requested": "IMAGENET1K_V1", "source": "torchvision", "sha256": "ab12"},
            "torchvision (sha256 `ab12`),",
        ),
        (
            {"requested": "DEFAULT", "source": "timm", "sha256": "ab12"},
            "trained on unknown. Licence of these weights and their data: unknown.",
        ),
        (
            {"requested": "/home/me/my weights/a.pth", "source": "file", "data": "faces", "licence": "CC BY-NC 4.0"},
            "the file `a.pth`, trained on faces. Licence of these weights and their data: CC BY-NC 4.0. **Research",
        ),
    ],
)
def test_source_of_the_initial_weights(weights, sentence):
    text = first_weights({"weights": weights})
    assert sentence in text
    assert "/home" not in text


def test_paths_are_shortened_and_urls_kept():
    assert without_folders("the file /home/me/x/a.pth, or ~/b/c.pth") == "the file a.pth, or c.pth"
    assert without_folders("C:\\Users\\me\\a.pth") == "a.pth"
    kept = "https://doi.org/10.5281/zenodo.1188976 and val/uar, 1 / 2"
    assert without_folders(kept) == kept


def test_description_of_face_crops():
    whole = OmegaConf.create({"detector": None, "dataset": {"grayscale": True}})
    assert faces_in_words(whole) == "central square of a picture that shows one face, in grayscale"
    cut = OmegaConf.create(
        {"detector": {"_target_": "fervid.faces.detection.YuNetDetector"}, "dataset": {"margin": 0.3}}
    )
    assert faces_in_words(cut).startswith("detected by YuNet, rotated so that the eyes are level")
    assert "margin of 30%" in faces_in_words(cut)
