"""The state of a sweep is stored on disk, independent of process, order and paths of its jobs."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
from process_launcher import jobs_in_processes

from fervid.cli.sweeps import read_jobs, sort_settings, sweep_name

WORDS = ["dataset=image_folder", "dataset.subject_pattern='(.+)__'", "backbone=lenet", "dataset.batch_size=4"]
WORDS += ["trainer.max_epochs=1", "logger=none", "+trainer.enable_progress_bar=false"]
VARIED = ["optimizer=adam,sgd_plain", "seed=1,2"]


def test_sweep_name_ignores_order_and_paths():
    words = ["-m", *WORDS, *VARIED, "dataset.root=pictures"]
    name = sweep_name(words)
    assert name.startswith("optimizer-seed-")
    for same in (
        words[::-1],
        [*words[:-1], "dataset.root=/elsewhere"],
        [*words, "cache_dir=/fast", "dataset.num_workers=4", "optimizer.fused=false", "+optimizer.foreach=true"],
    ):
        assert sweep_name(same) == name
        assert [word for word in sort_settings(same) if "," in word] == VARIED
    for other in ([*words, "split.val=0.3"], [*words, "~split.seed"], ["dataset.num_workers=0,2", *words]):
        assert sweep_name(other) != name


def test_options_and_words_of_a_single_run_keep_their_order():
    assert sort_settings(["seed=1", "optimizer=sgd"]) == ["seed=1", "optimizer=sgd"]
    words = ["--config-dir", "mine", "seed=2,1", "-m", "optimizer=sgd", "~split.seed", "seed=3"]
    assert sort_settings(words) == ["--config-dir", "mine", "optimizer=sgd", "-m", "seed=2,1", "seed=3", "~split.seed"]


def trained(folder):
    """Returns when each job of the only sweep in a folder was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("runs/*/*/results.json")}


def test_moved_corpus_and_neutral_settings_do_not_retrain(fervid_train, pictures, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    fervid_train("-m", *WORDS, *VARIED, f"dataset.root={pictures}", f"cache_dir={tmp_path / 'cache'}")
    finished = trained(tmp_path)
    assert len(finished) == 4
    jobs = read_jobs(next((tmp_path / "runs").iterdir()))
    moved = pictures.rename(tmp_path / "moved")
    capfd.readouterr()
    others = ["optimizer.fused=false", "dataset.num_workers=1", f"cache_dir={tmp_path / 'other'}"]
    fervid_train("-m", *others, f"dataset.root={moved}", *VARIED[::-1], *WORDS[::-1])
    assert trained(tmp_path) == finished
    assert "job 3 is already finished" in capfd.readouterr().out
    assert [job["score"] for job in read_jobs(next((tmp_path / "runs").iterdir()))] == [job["score"] for job in jobs]


def test_sweep_on_another_corpus_is_refused(fervid_train, pictures, tmp_path, monkeypatch, capfd):
    other = shutil.copytree(pictures, tmp_path / "other")
    (other / "sad" / "p3__2.png").rename(other / "happy" / "p3__2.png")
    monkeypatch.chdir(tmp_path)
    fervid_train("-m", *WORDS, "seed=1", f"dataset.root={pictures}")
    finished = trained(tmp_path)
    with pytest.raises(SystemExit):
        fervid_train("-m", *WORDS, "seed=1", f"dataset.root={other}")
    assert "already contains a finished run on other data" in capfd.readouterr().err
    assert trained(tmp_path) == finished


def test_changed_pictures_are_another_corpus(fervid_train, pictures, tmp_path, monkeypatch, capfd):
    other = shutil.copytree(pictures, tmp_path / "other")
    for path in other.rglob("*.png"):
        picture = cv2.imread(str(path))
        cv2.imwrite(str(path), cv2.rotate(picture, cv2.ROTATE_180))
    monkeypatch.chdir(tmp_path)
    fervid_train("-m", *WORDS, "seed=1", f"dataset.root={pictures}")
    with pytest.raises(SystemExit):
        fervid_train("-m", *WORDS, "seed=1", f"dataset.root={other}")
    assert "already contains a finished run on other data" in capfd.readouterr().err


def test_unfinished_job_on_another_corpus_starts_again(fervid_train, pictures, tmp_path, monkeypatch, capfd):
    other = shutil.copytree(pictures, tmp_path / "other")
    (other / "sad" / "p3__2.png").rename(other / "happy" / "p3__2.png")
    monkeypatch.chdir(tmp_path)
    for root, resumed in ((pictures, False), (shutil.copytree(pictures, tmp_path / "moved"), True), (other, False)):
        capfd.readouterr()
        fervid_train("-m", *WORDS, "seed=1", f"dataset.root={root}")
        assert ("resuming job 0" in capfd.readouterr().out) == resumed
        next(tmp_path.glob("runs/*/0/results.json")).unlink()


@pytest.mark.filterwarnings("ignore:A worker stopped")  # loky replaces those that grow
def test_jobs_in_other_processes_are_in_the_table(fervid_train, tmp_path, monkeypatch, capfd):
    words = ["-m", "experiment=smoke", "logger=none", "trainer.max_epochs=1", "seed=1,2", "optimizer.lr=0.001,-1"]
    words.append(jobs_in_processes(monkeypatch))
    with pytest.raises(SystemExit):
        fervid_train(*words, f"hydra.sweep.dir={tmp_path}")
    output = capfd.readouterr()
    assert "2 of 4 jobs failed (2, 3)" in output.err
    table = output.out.split("Jobs of this sweep")[1]
    jobs = read_jobs(tmp_path)
    assert [job["number"] for job in jobs] == [0, 1, 2, 3]
    for job in jobs[:2]:
        results = json.loads((tmp_path / str(job["number"]) / "results.json").read_text())
        assert job["score"] == results["best_score"]
        assert f"optimizer.lr=0.001 seed={results['seed']}" in table
        assert f"{job['score']:.4f}" in table
    assert "optimizer.lr=-1 is out of range" in jobs[3]["error"]
    assert Path(tmp_path, "jobs", "3.json").exists()
