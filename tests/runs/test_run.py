import json
import os
import shutil

import pandas as pd
import pytest

from fervid.errors import InputError
from fervid.runs.run import find_runs


@pytest.fixture
def sweep(tmp_path, write_run):
    """A sweep of eleven jobs, and a single run."""
    for number in range(11):
        write_run(tmp_path / "sweep" / str(number), subjects=range(1), clips=1, seed=number)
    write_run(tmp_path / "alone", subjects=range(1), clips=1)
    return tmp_path


def names(runs):
    return [run.folder.name for run in runs]


def test_runs_at_any_depth_are_in_natural_order(sweep):
    runs, unusable = find_runs(str(sweep))
    assert names(runs) == ["alone", *map(str, range(11))]
    assert unusable == {}
    assert [run.setting("seed") for run in runs if run.folder.parent.name == "sweep"] == list(range(11))


def test_run_folders_globs_and_lists_are_accepted(sweep):
    assert names(find_runs(str(sweep / "sweep" / "3"))[0]) == ["3"]
    assert names(find_runs(str(sweep / "sweep" / "1*"))[0]) == ["1", "10"]
    assert names(find_runs(str(sweep / "**" / "1*"))[0]) == ["1", "10"]
    assert names(find_runs([str(sweep / "sweep" / "10"), str(sweep / "sweep" / "2")])[0]) == ["2", "10"]


def test_home_folder_is_expanded(sweep, monkeypatch):
    monkeypatch.setenv("HOME", str(sweep))
    assert names(find_runs("~/alone")[0]) == ["alone"]


def test_number_is_accepted_as_folder_name(sweep, monkeypatch):
    monkeypatch.chdir(sweep / "sweep")  # on the command line, runs=3 is parsed as a number
    assert names(find_runs(3)[0]) == ["3"]
    assert names(find_runs([3, 10])[0]) == ["3", "10"]


def test_run_given_twice_is_opened_once(sweep, monkeypatch):
    patterns = [str(sweep / "alone"), str(sweep / "al*"), str(sweep), str(sweep / "sweep" / ".." / "alone")]
    assert len(find_runs(patterns)[0]) == 12
    monkeypatch.chdir(sweep)
    assert len(find_runs(["alone", str(sweep / "alone")])[0]) == 1


def test_unfinished_runs_are_reported(sweep):
    jobs = sweep / "sweep"
    os.remove(jobs / "0" / "results.json")
    (jobs / "1" / "results.json").write_text('{"metrics": {')
    (jobs / "2" / "results.json").write_text("null")
    older = json.loads((jobs / "3" / "results.json").read_text())
    del older["task"], older["choices"]
    (jobs / "3" / "results.json").write_text(json.dumps(older))
    del older["config"], older["seconds"]
    (jobs / "4" / "results.json").write_text(json.dumps(older))
    runs, unusable = find_runs([str(sweep), str(jobs)])
    assert sorted(names(runs)) == ["10", "5", "6", "7", "8", "9", "alone"]
    assert list(unusable) == [jobs / str(number) for number in range(5)]
    unfinished, damaged, nothing, old, older = unusable.values()
    assert unfinished == "the run is not finished"
    assert damaged.startswith("its results.json cannot be read: Expecting property name")
    assert nothing == "its results.json cannot be read: it contains no results"
    assert old == "its results.json has no choices, task: it was written by another version of fervid"
    assert "has no choices, config, task, seconds:" in older


@pytest.mark.parametrize("pattern", ["nowhere", "empty", "*/none*", "file"])
def test_folder_without_runs_is_an_error(tmp_path, pattern):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"^runs=.* contains no run: give run folders, or folders that contain runs\.$"
    ):
        find_runs(str(tmp_path / pattern))


def test_each_pattern_must_contain_a_run(sweep):
    with pytest.raises(InputError, match="nowhere contains no run"):
        find_runs([str(sweep), str(sweep / "nowhere")])


def test_only_unfinished_runs_are_an_error(sweep):
    for path in sweep.rglob("results.json"):
        path.unlink()
    with pytest.raises(InputError, match="none of the 12 run folders contains a finished run"):
        find_runs(str(sweep))


def test_names_stay_strings(a_run):
    subjects = {"00": "01", "01": "2", "02": "NA", "03": "None", "04": None, "05": "nan"}

    def rename(table):
        return table.assign(subject=table["subject"].map(subjects), clip=table["frame"].map("{:03}".format))

    run = a_run("run", class_names=["1", "null"], edit=rename)
    subjects = run.predictions["subject"]
    assert subjects.dropna().unique().tolist() == ["01", "2", "NA", "None", "nan"]
    assert subjects.isna().mean() == 1 / 6
    assert run.predictions["clip"].unique().tolist() == ["000", "001"]
    assert set(run.predictions["label"]) == set(run.predictions["predicted"]) == {"1", "null"}
    assert run.validation["split"].eq("val").all()
    assert run.predictions["prob_null"].dtype == run.predictions["time"].dtype == float


def test_subject_01_is_not_read_as_number(a_run):
    run = a_run("run", edit=lambda table: table.assign(clip=table["subject"] + "7"))
    assert run.predictions["subject"].unique().tolist() == [f"0{number}" for number in range(6)]
    assert run.predictions["clip"].unique().tolist() == [f"0{number}7" for number in range(6)]


def test_setting_returns_choices_and_values(a_run):
    run = a_run("run", {"backbone": "vgg16", "optimizer.lr": 0.5}, fold=3, level="leaky")
    asked = ("backbone", "optimizer", "optimizer.lr", "split.fold", "seed", "head.hidden", "optimizer.lr.deep", "no")
    assert [run.setting(name) for name in asked] == ["vgg16", "adam", 0.5, 3, 0, None, None, None]
    assert (run.class_names, run.level) == (["happy", "angry", "sad"], "leaky")


@pytest.mark.parametrize("name", ["predictions.csv", "predictions_val.csv"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half a line", "a column less", "not text"])
def test_error_names_damaged_predictions(a_run, name, damage):
    run = a_run("run")
    path = run.folder / name
    text = path.read_text()
    if damage == "missing":
        path.unlink()
    elif damage == "not text":
        path.write_bytes(b"\xff\xfe\x00" * 50)
    elif damage == "a column less":
        pd.read_csv(path).drop(columns="prob_sad").to_csv(path, index=False)
    else:
        path.write_text({"empty": "", "half a line": text[: len(text) * 2 // 3]}[damage])
    with pytest.raises(InputError) as error:
        run.predictions if name == "predictions.csv" else run.validation  # noqa: B018
    assert str(error.value).startswith(f"{path} cannot be read: ")
    assert "\n" not in str(error.value)


def test_truncated_predictions_are_an_error(a_run):
    run = a_run("run")
    lines = (run.folder / "predictions.csv").read_text().splitlines(keepends=True)
    (run.folder / "predictions.csv").write_text("".join(lines[:31]))
    with pytest.raises(
        InputError, match=r"predictions.csv cannot be read: it has 30 rows, but its results.json records 72"
    ):
        _ = run.predictions


def test_missing_folder_is_an_error(a_run):
    run = a_run("run")
    shutil.rmtree(run.folder)
    with pytest.raises(InputError, match=r"predictions.csv cannot be read: .*No such file"):
        _ = run.predictions


def test_predictions_saved_by_a_spreadsheet_have_same_subjects(tmp_path, write_run):
    write_run(tmp_path / "run", subjects=range(2), clips=1)
    path = tmp_path / "run" / "predictions.csv"
    (plain,), _ = find_runs(str(tmp_path))
    before = plain.predictions
    table = pd.read_csv(path, dtype=str)
    table["subject"] += ["\u00a0", " "] * (len(table) // 2) + [""] * (len(table) % 2)
    table["label"] += " "
    table.to_csv(path, index=False, encoding="utf-8-sig")
    (again,), _ = find_runs(str(tmp_path))
    assert again.predictions.equals(before)


def test_subjects_called_na_are_not_missing(tmp_path, write_run):
    write_run(tmp_path / "run", subjects=range(2), clips=1)
    path = tmp_path / "run" / "predictions.csv"
    table = pd.read_csv(path, dtype=str)
    table["subject"] = ["NA", "None"] * (len(table) // 2) + ["null"] * (len(table) % 2)
    table.to_csv(path, index=False)
    (run,), _ = find_runs(str(tmp_path))
    assert run.predictions["subject"].tolist() == table["subject"].tolist()
