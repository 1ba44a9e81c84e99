"""Emotion names that are special to matplotlib, LaTeX, Markdown, HTML, CSV or a terminal are treated as plain text."""

import csv
import json
import subprocess
import sys
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

FORMULA, SCRIPT, LONG = "=1+1", "<script>alert(1)</script>", "long" * 80
NAMES = [r"$\frac{a}{$", "a|b", SCRIPT, FORMULA, r"x_y%#\ [/b] `c` *d*", "радость", "\N{GRINNING FACE}", LONG]
PEOPLE = 6

pytestmark = pytest.mark.filterwarnings(
    "ignore:Glyph .* missing from font",  # matplotlib's own font has no emoji
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Pictures with a CSV: one colour per emotion, six subjects."""
    root = tmp_path_factory.mktemp("names")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(len(NAMES)):
        for subject in range(PEOPLE):
            picture = rng.integers(0, 40, (32, 32, 3), dtype=np.uint8)
            picture[:, :, :] += np.uint8([(number & 1) * 180, (number >> 1 & 1) * 180, (number >> 2 & 1) * 180])
            cv2.imwrite(str(root / f"{number}_{subject}.png"), picture)
            rows.append((f"{number}_{subject}.png", NAMES[number], f"@subject{subject}"))
    pd.DataFrame(rows, columns=["path", "emotion", "subject"]).to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A LeNet trained on them for one epoch, in a separate process."""
    folder = tmp_path_factory.mktemp("run") / "run"
    words = [
        *("dataset=image_folder", f"dataset.root={corpus}", f"dataset.csv={corpus / 'labels.csv'}", "backbone=lenet"),
        *("split.val=0.2", "split.test=0.4", "dataset.batch_size=8", "trainer.max_epochs=1"),
        *("+trainer.enable_progress_bar=false", f"cache_dir={folder.parent / 'cache'}", f"hydra.run.dir={folder}"),
    ]
    process = subprocess.run([sys.executable, "-m", "fervid.train", *words], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return folder


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self):
        super().__init__()
        self.tags, self.words = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_training_keeps_unusual_names(run):
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert sorted(results["class_names"]) == sorted(NAMES)
    table = pd.read_csv(run / "predictions.csv", keep_default_na=False)
    assert set(table["label"]) <= set(NAMES)
    assert {f"prob_{name}" for name in NAMES} <= set(table)
    for figure in ("confusion_matrix", "sample_predictions", "curves"):
        assert (run / f"{figure}.png").stat().st_size > 1000


def test_every_command_accepts_unusual_names(run, corpus, fervid_command, tmp_path, capsys):
    cache = f"cache_dir={run.parent / 'cache'}"
    fervid_command("report", f"runs={run}", f"hydra.run.dir={tmp_path / 'report'}", "resamples=100", "++" + cache)
    fervid_command("evaluate", f"run={run}", f"hydra.run.dir={tmp_path / 'evaluation'}", "resamples=100", cache)
    fervid_command("explain", f"run={run}", "max_samples=4", cache)
    fervid_command("export", f"run={run}", "format=safetensors", "++" + cache)
    fervid_command("predict", f"run={run}", f"source={corpus}", f"hydra.run.dir={tmp_path / 'seen'}", "++" + cache)

    for report in (tmp_path / "report", tmp_path / "evaluation"):
        page = Tags()
        page.feed((report / "report.html").read_text(encoding="utf-8"))
        assert "script" not in page.tags
        assert SCRIPT in "".join(page.words)
        for path in [report / "report.md", run / "export" / "model_card.md"]:
            page = Tags()
            page.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(path.read_text(encoding="utf-8")))
            assert "script" not in page.tags
            assert set(NAMES) <= {word.strip() for word in page.words}  # each alone in some cell
        assert (report / "tables").is_dir()
        for path in (report / "tables").glob("*.csv"):
            with path.open(encoding="utf-8", newline="") as file:
                cells = [cell for row in csv.reader(file) for cell in row]
            assert not [cell for cell in cells if cell[:1] in "=@" and cell], path
        tex = (report / "tables" / "classes.tex").read_text(encoding="utf-8")
        assert r"\$\textbackslash{}frac\{a\}\{\$" in tex
        assert r"x\_y\%\#\textbackslash{}" in tex
        assert r"\textless{}script\textgreater{}" in tex

    with (tmp_path / "seen" / "faces.csv").open(encoding="utf-8", newline="") as file:
        seen = list(csv.DictReader(file))
    exact = [json.loads(line) for line in (tmp_path / "seen" / "faces.jsonl").read_text("utf-8").splitlines()]
    assert [row["emotion"] for row in exact] == [row["emotion"].removeprefix("'") for row in seen]
    assert not [row for row in seen if row["emotion"][0] in "=@"]
