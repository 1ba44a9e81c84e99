import errno
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from matplotlib.figure import Figure
from rich.console import Console

from fervid import report as command
from fervid.errors import InputError
from fervid.figures.heat_maps import HEAT_MAPS, MeanHeatMaps
from fervid.report import classification, writing
from fervid.report import report as module
from fervid.report.report import compare, make_report
from fervid.runs.run import find_runs

SELECTIVE = ["Abstention", "Conformal sets"]
OPTIONS = {"paper": None, "title": "Comparison of runs", "resamples": 100, "seed": 0}


@pytest.fixture
def no_pictures(monkeypatch):
    """Builds figures without drawing them, which would take seconds."""

    def savefig(self, path, **options):
        self.gca()
        Path(path).write_bytes(b"a picture")

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(writing, "save", savefig)


def make(folder, runs, **options):
    console = Console(file=StringIO(), width=80)
    make_report(folder, console, runs=runs, **{**OPTIONS, **options})
    return console.file.getvalue()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, write_run):
    """Two networks on two folds, one of them on a leaky split too, a baseline, a duplicate and an unfinished run."""
    folder = tmp_path_factory.mktemp("runs")
    for name, skill in (("vgg16", 2.0), ("lenet", 0.5)):
        for fold, subjects in enumerate((range(3), range(3, 6))):
            options = {"split": "subject_kfold", "fold": fold, "subjects": subjects, "skill": skill}
            write_run(folder / name / str(fold), {"backbone": name}, **options)
    write_run(folder / "leaky", split="random_frames", level="leaky", skill=3.0, subjects=range(2))
    write_run(folder / "lgbp", {"backbone": "lgbp", "pca": 0.95}, trained=False, subjects=range(4))
    write_run(folder / "again", {"backbone": "lgbp", "pca": 0.95}, trained=False, subjects=range(4))
    (write_run(folder / "begun", subjects=range(1)) / "results.json").unlink()
    return folder


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, make(folder, str(runs))


def test_all_files_are_there(made):
    folder, _ = made
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    tables = ["summary", "leaks", "not_compared", "classes", "subjects", "groups", "calibration", "runs"]
    tables += ["abstention", "conformal"]
    tables += [f"scores_{number}" for number in (1, 2, 3)] + ["tests_3"]
    # Of four systems; the baseline has no curves.
    figures = [f"{name}_{number}" for name in ("confusion", "reliability") for number in (1, 2, 3, 4)]
    drawn = [path for path in files if path.startswith("figures/curves_")]
    assert len(drawn) == 2 * 3
    assert files - set(drawn) == {
        *("report.html", "report.md", "scores.csv"),
        *(f"tables/{name}.{kind}" for name in tables for kind in ("csv", "tex")),
        *(
            f"figures/{name}.{kind}"
            for name in [*figures, "scores", "subjects", "risk_coverage"]
            for kind in ("png", "pdf")
        ),
    }
    assert all((folder / path).stat().st_size for path in files)


def test_page_has_every_table_and_figure(made):
    folder, _ = made
    page, text = ((folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    assert page.count("<table>") == text.count("\n### ") == len(list(folder.glob("tables/*.csv")))
    assert page.count("<img ") == text.count("![") == len(list(folder.glob("figures/*.png")))
    assert not re.findall(r'(?:src|href)="(?!data:image/png;base64,|#)', page)
    assert "<title>Comparison of runs</title>" in page
    for words in (
        "This report covers 7 runs.",
        "At least one corpus is rendered",
        '<span class="level" style="background: #d55e002b">leaky</span>',
    ):
        assert words in page
    headings = ["Summary", "Leakage", "Scores", "Paired tests", "Not compared", "By emotion", "By subject", "By group"]
    assert re.findall(r"^## (.+)$", text, re.M) == [*headings, "Calibration", *SELECTIVE, "Training curves", "Runs"]


def test_terminal_shows_the_main_tables(made):
    folder, shown = made
    for words in ("Results", "Effect of the split on the scores", "Not compared", "These systems also differ in"):
        assert words in shown
    assert "By subject" not in shown
    assert "…" not in shown
    last = f"Output: {folder} (report.html, report.md, scores.csv, tables/, figures/)\n"
    assert shown.endswith(last)
    assert max(map(len, shown.removesuffix(last).splitlines())) <= 80


def test_skipped_folders_are_listed(made):
    table = pd.read_csv(made[0] / "tables" / "runs.csv").set_index("folder")["remark"].dropna()
    left_out = {Path(folder).name: remark for folder, remark in table.items()}
    assert left_out == {
        "again": "skipped: another run has the same settings, seed and data",
        "begun": "skipped: the run is not finished",
    }
    assert pd.read_csv(made[0] / "scores.csv")["run"].nunique() == 6


def test_report_is_reproducible(made, runs, tmp_path, no_pictures):
    make(tmp_path, str(runs))
    for path in [*made[0].rglob("*.csv"), *made[0].rglob("*.tex"), made[0] / "report.md"]:
        assert (tmp_path / path.relative_to(made[0])).read_bytes() == path.read_bytes(), path.name


def test_seed_changes_only_the_intervals(made, runs, tmp_path, no_pictures):
    make(tmp_path, str(runs), seed=1)
    for name, same in (("scores_1", False), ("summary", True), ("tests_3", False)):
        own, other = ((folder / "tables" / f"{name}.csv").read_text() for folder in (made[0], tmp_path))
        assert (own == other) == same


def test_a_single_run(tmp_path, write_run, no_pictures):
    shown = make(tmp_path / "report", [str(write_run(tmp_path / "run"))])
    text = (tmp_path / "report" / "report.md").read_text()
    assert "\nThis report covers 1 run.\n" in text
    headings = ["Summary", "Scores", "By emotion", "By subject", "By group", "Calibration"]
    assert re.findall(r"^## (.+)$", text, re.M) == [*headings, *SELECTIVE, "Training curves", "Runs"]
    assert "lenet" in shown


@pytest.mark.parametrize(
    "options",
    [
        {"class_names": ["very happy", "not_sad", "50% | {angry}", "<b>"]},
        {"known": False},
        {"absent": ["sad"]},
        {"frames": 1, "clips": 1},
        {"subjects": range(1)},
        {"without": ["sex", "intensity", "spectacles"]},
    ],
    ids=lambda options: next(iter(options)),
)
def test_unusual_runs(tmp_path, write_run, no_pictures, options):
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, {"backbone": name}, **{"subjects": range(3), "clips": 1, **options})
    make(tmp_path / "report", str(tmp_path / "runs"))
    text = (tmp_path / "report" / "report.html").read_text()
    assert "<b>" not in text
    for path in (tmp_path / "report").rglob("*.csv"):
        assert len(pd.read_csv(path))


def test_number_of_figures_is_limited(tmp_path, write_run, monkeypatch):
    monkeypatch.setattr(classification, "MAX_SYSTEM_FIGURES", 4)
    for number in range(18):
        options = {"subjects": range(2), "clips": 1, "frames": 1}
        write_run(tmp_path / str(number), {"optimizer.lr": 0.1 + number}, **options)
    sections = {section.title: section for section in compare(*find_runs(str(tmp_path)), resamples=100, seed=0)}
    for title in ("By emotion", "Calibration", "Training curves"):
        assert len(sections[title].figures) == 4
    assert "Figures of individual systems show only the first 4 of 18 systems." in sections["Summary"].sentences
    assert len(sections["Summary"].tables[0].data) == 18
    assert len(sections["Paired tests"].tables[0].data) == 18 * 17 / 2
    sections["Scores"].figures["scores"].draw_without_rendering()


class TestRefused:
    def test_too_few_resamples(self, tmp_path, runs):
        with pytest.raises(InputError, match="resamples=99 is too small for a 95% interval: use at least 100"):
            make(tmp_path, str(runs), resamples=99)

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match=r"^runs=.* contains no run"):
            make(tmp_path / "report", str(tmp_path))
        assert not (tmp_path / "report").exists()

    def test_a_run_without_predictions(self, tmp_path, write_run):
        write_run(tmp_path / "a")
        (write_run(tmp_path / "b", {"backbone": "b"}) / "predictions.csv").unlink()
        with pytest.raises(InputError, match=rf"^{tmp_path}/b/predictions.csv cannot be read"):
            make(tmp_path / "report", [str(tmp_path / "a"), str(tmp_path / "b")])


def test_a_run_without_validation_has_no_calibration(tmp_path, write_run, no_pictures):
    write_run(tmp_path / "a")
    (write_run(tmp_path / "b", {"backbone": "b"}) / "predictions_val.csv").unlink()
    make(tmp_path / "report", [str(tmp_path / "a"), str(tmp_path / "b")])
    table = pd.read_csv(tmp_path / "report" / "tables" / "calibration.csv")
    assert table["system"].tolist() == ["lenet"]
    assert "Omitted because predictions_val.csv is missing: b." in (tmp_path / "report" / "report.md").read_text()
    (tmp_path / "a" / "predictions_val.csv").unlink()
    make(tmp_path / "report", [str(tmp_path / "a")])
    assert not (tmp_path / "report" / "tables" / "calibration.csv").exists()


def test_heat_maps_are_shown(tmp_path, write_run, no_pictures):
    means = MeanHeatMaps(
        np.array(["sad", "angry"]),
        np.zeros((2, 8, 8, 3), dtype=np.uint8),
        np.random.default_rng(0).random((2, 8, 8), dtype=np.float32),
        np.array([3, 7]),
        np.array([False, True]),
    )
    for name in ("a", "b", "c"):
        folder = write_run(tmp_path / "runs" / name, {"backbone": name})
        if name != "a":
            (folder / HEAT_MAPS).parent.mkdir()
            means.save(folder / HEAT_MAPS)
    damaged = tmp_path / "runs" / "c" / HEAT_MAPS
    damaged.write_bytes(damaged.read_bytes()[:200])
    sections = {
        section.title: section for section in compare(*find_runs(str(tmp_path / "runs")), resamples=100, seed=0)
    }
    section = sections["Heat maps"]
    (figure,) = section.figures.values()
    assert figure.get_suptitle() == "b"
    assert [axes.get_title() for axes in figure.axes[:2]] == ["sad", "angry"]
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["3 frames", "7 correct frames"]
    assert section.sentences[0].startswith("Face regions that contribute to the score of each emotion (Grad-CAM)")
    assert section.sentences[1].startswith(f"Omitted: {damaged} cannot be read")
    (tmp_path / "runs" / "b" / HEAT_MAPS).unlink()  # damaged files are reported even if no heat map is left
    make(tmp_path / "report", str(tmp_path / "runs"))
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"## Heat maps\n\n- Omitted: {damaged} cannot be read" in text


class TestCommand:
    @pytest.fixture
    def fervid_report(self, monkeypatch, tmp_path):
        def run(*overrides):
            GlobalHydra.instance().clear()
            monkeypatch.setattr("sys.argv", ["fervid.report", *overrides, f"hydra.run.dir={tmp_path / 'report'}"])
            command.main()

        return run

    def refused(self, fervid_report, capsys, *overrides):
        with pytest.raises(SystemExit) as stopped:
            fervid_report(*overrides)
        assert stopped.value.code == 1
        said = capsys.readouterr().err.strip()
        *before, sentence = said.splitlines()
        assert sentence.startswith("fervid: ")
        assert not before or before[0].startswith("Error executing job"), said  # Hydra's
        return sentence

    def test_command_writes_a_report(self, fervid_report, runs, tmp_path, capsys, no_pictures):
        fervid_report(f"runs=[{runs / 'vgg16'},{runs / 'lenet' / '*'}]", "title=My runs", "resamples=100")
        shown = capsys.readouterr().out
        assert "Results" in shown
        assert f"Output: {tmp_path / 'report'} (report.html" in shown
        assert (tmp_path / "report" / "report.md").read_text().startswith("# My runs\n\nThis report covers 4 runs.\n")

    def test_nothing_to_report(self, fervid_report, capsys):
        assert "give runs=<folders or globs> or paper=<name>" in self.refused(fervid_report, capsys)

    @pytest.mark.parametrize(
        ("override", "sentence"),
        [
            ("resamples=10", "resamples=10 is too small"),
            ("resamples=many", "resamples=many is not a number"),
            ("paper=nobody", "there is no paper 'nobody': choose "),
            ("resample=100", "there is no setting 'resample'. Did you mean resamples?"),
        ],
    )
    def test_a_wrong_setting(self, fervid_report, capsys, runs, override, sentence):
        assert sentence in self.refused(fervid_report, capsys, f"runs={runs}", override)

    def test_no_run(self, fervid_report, capsys, tmp_path):
        assert f"runs={tmp_path / 'none'} contains no run" in self.refused(
            fervid_report, capsys, f"runs={tmp_path / 'none'}"
        )

    @pytest.mark.parametrize(
        ("number", "sentence"),
        [(errno.EACCES, "cannot be written or read: permission denied"), (errno.ENOSPC, "is full: free disk space")],
    )
    def test_output_folder_that_cannot_be_written(self, fervid_report, capsys, monkeypatch, runs, number, sentence):
        def write_report(folder, *others):
            raise OSError(number, "no", str(folder / "report.md"))

        monkeypatch.setattr(module, "write_report", write_report)
        said = self.refused(fervid_report, capsys, f"runs={runs / 'vgg16'}", "resamples=100")
        assert sentence in said


def test_neither_torch_nor_hydra_is_loaded_for_a_report():
    """Opening runs and writing a report needs only pandas and matplotlib: others would delay the report by seconds."""
    code = (
        "import sys, types; import fervid; "
        # Skips fervid/report/__init__.py, the entry point of the command, which imports Hydra.
        "package = types.ModuleType('fervid.report'); package.__path__ = [f'{fervid.__path__[0]}/report']; "
        "sys.modules['fervid.report'] = package; "
        "import fervid.report.report, fervid.runs.run; "
        "print({'torch', 'hydra', 'omegaconf', 'lightning', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
