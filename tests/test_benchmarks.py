import importlib
import json
import os
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SLEEPER = "subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a benchmark script, which is in a folder and not in a package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delenv("FERVID_FIGURES", raising=False)
    return importlib.import_module


@pytest.fixture
def table(benchmark: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The table program in a folder of test scripts; ``write`` adds one."""
    module = benchmark("table")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "table.py"))
    monkeypatch.setattr(module, "TAKES", {"good": ["repeats"], "bad": [], "slow": []})
    monkeypatch.chdir(tmp_path)
    return module


def write(folder: Path, name: str, *lines: str) -> None:
    """A script that reports a figure, then runs the given lines."""
    start = f"""
        import os, subprocess, sys, time
        sys.path.insert(0, {str(BENCHMARKS)!r})
        from timing import Figure, print_figures
        print_figures(Figure({name!r}, "of a test", [2.0], note=" ".join(sys.argv[1:])))
    """
    (folder / f"{name}.py").write_text("\n".join([textwrap.dedent(start), *lines]))


# timing.py


def test_alternatives_are_timed_in_alternating_order(benchmark):
    order = []
    alternatives = {name: lambda name=name: order.append(name) or float(len(order)) for name in "abc"}
    seconds = benchmark("timing").by_turns(alternatives, 3)
    assert "".join(order) == "abccbaabc"
    assert seconds == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}


def test_ratios_are_computed_per_repeat(benchmark):
    ratios = benchmark("timing").ratios
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="zip"):
        ratios([2.0], [1.0, 3.0])


@pytest.mark.parametrize(
    ("goal", "met"),
    [("<= 2", True), ("<= 1.9", False), (">= 2", True), (">= 2.1", False), ("", None)],
)
def test_goals_apply_to_the_median(benchmark, goal, met):
    figure = benchmark("timing").Figure("row", "what", [100.0, 1.0, 2.0], goal)
    assert figure.median == 2
    assert figure.met is met
    assert figure.cells()[5] == {True: "met", False: "missed", None: ""}[met]


def test_table_cells_show_the_spread(benchmark):
    Figure = benchmark("timing").Figure
    cells = ["row", "what", "2.00 s", "1.00 to 1,234", "<= 3", "met", "a note"]
    assert Figure("row", "what", [1234.0, 1.0, 2.0], "<= 3", "s", "a note").cells() == cells
    assert Figure("row", "what", [2.0]).cells() == ["row", "what", "2.00 x", "", "", "", ""]


def test_figures_are_printed_and_appended_to_the_results_file(benchmark, monkeypatch, tmp_path, capsys):
    timing = benchmark("timing")
    figures = [timing.Figure("row", "one", [1.0, 3.0], "<= 1"), timing.Figure("row", "other", [4.0], unit="s")]
    timing.print_figures(figures[0])
    monkeypatch.setenv("FERVID_FIGURES", str(tmp_path / "figures.jsonl"))
    for figure in figures:
        timing.print_figures(figure)
    lines = (tmp_path / "figures.jsonl").read_text().splitlines()
    assert [timing.Figure(**json.loads(line)) for line in lines] == figures
    line = "row: one: 2.00 x (1.00 to 3.00, 2 repeats) goal <= 1: missed"
    assert capsys.readouterr().out.splitlines() == [line, line, "row: other: 4.00 s"]


# table.py


def test_table_is_written_after_every_script_even_if_one_fails(table, tmp_path, capsys):
    path = tmp_path / "folder" / "table.md"
    look = f"print('seen:', {str(path)!r}, os.path.exists({str(path)!r}) and open({str(path)!r}).read())"
    write(tmp_path, "bad", look, "sys.exit('it broke')")
    write(tmp_path, "good", look)
    assert table.main(["--only", "bad,good", "--repeats", "7", "--minutes", "1", "--output", str(path)]) == 1
    output, text = capsys.readouterr().out, path.read_text()
    assert f"  seen: {path} False" in output  # by the first script
    assert "- bad: FAILED after" in output.split("good:\n")[1]  # by the second
    assert "- good: not run" in output
    assert output.count("it broke") >= 2
    assert [line.split("|")[1].strip() for line in text.splitlines() if "of a test" in line] == ["bad", "good"]
    assert "it broke" in text
    assert "--repeats 7" in text.split("| good")[1].splitlines()[0]
    assert "--repeats" not in text.split("| bad")[1].splitlines()[0]
    assert "not run" not in text
    assert os.listdir(path.parent) == ["table.md"]


def test_leftover_processes_of_a_script_are_killed(table, tmp_path):
    write(tmp_path, "good", f"open('pid', 'w').write(str({SLEEPER}.pid))")
    assert table.main(["--only", "good", "--minutes", "1", "--output", "table.md"]) == 0
    _wait_for_the_end_of(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_script_over_its_time_limit_is_killed_with_its_children(table, tmp_path):
    write(tmp_path, "slow", f"open('pid', 'w').write(str({SLEEPER}.pid))", "time.sleep(60)")
    began = time.monotonic()
    figures, code, end = table.run(tmp_path / "slow.py", [], 8.0)
    assert time.monotonic() - began < 30
    assert (len(figures), code != 0) == (1, True)
    assert end.startswith("FAILED after")
    assert "time limit" in end
    _wait_for_the_end_of(int((tmp_path / "pid").read_text()))


def test_ctrl_c_stops_the_script_and_keeps_the_table(table, monkeypatch, tmp_path, capsys):
    write(tmp_path, "slow", "print(os.getpid(), flush=True)", "time.sleep(60)")
    pids = []

    def press(line: str, **options: object) -> None:
        print(line, **options)
        if line.strip().isdigit():
            pids.append(int(line))
            raise KeyboardInterrupt

    monkeypatch.setattr(table, "print", press, raising=False)
    assert table.main(["--only", "slow,good", "--minutes", "1", "--output", "table.md"]) == 130
    sentence = "Interrupted: the results so far are in table.md."
    assert capsys.readouterr().out.splitlines()[-1] == sentence
    text = (tmp_path / "table.md").read_text()
    assert "of a test | 2.00 x" in text
    assert "- slow: interrupted after" in text
    assert "- good: not run" in text
    _wait_for_the_end_of(*pids)


def _wait_for_the_end_of(pid: int) -> None:
    """An orphan that was killed exists until the system has reaped it."""
    until = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "it still runs"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "good,gut"], "there is no benchmark gut: choose from good"),
        (["--repeats", "0"], "use 1 or more"),
    ],
)
def test_invalid_arguments_are_refused(table, tmp_path, capsys, words, sentence):
    with pytest.raises(SystemExit):
        table.main([*words, "--output", str(tmp_path / "table.md")])
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "table.md").exists()


def test_each_script_accepts_the_options_the_table_passes(benchmark):
    takes = benchmark("table").TAKES
    for name, options in takes.items():
        text = (BENCHMARKS / f"{name}.py").read_text()
        known = ["keras", "pictures", "repeats", "videos", "weights"]
        assert sorted(options) == [option for option in known if f'"--{option}"' in text], name


# growth.py


@pytest.mark.parametrize(
    ("seconds", "ratio"),
    [
        ([15, 30, 90], 1.0),  # 10 s of a start, and 5, 20 and 80 s
        ([11, 26, 266], 4.0),  # and 1, 16 and 256 s
        ([10.2, 13.2, 61.2], 2.4),  # and 0.2, 3.2 and 51.2 s: the square too, which is 2.4 at least
        ([10.3, 11.2, 14.8], None),  # linear, but noise decides
        ([26.4, 30.2, 15.8], None),  # seen on a busy machine
        ([49.0, 71.1, 19.5], None),  # likewise
    ],
)
def test_time_is_judged_only_if_frames_outweigh_the_start(benchmark, capsys, seconds, ratio):
    growth = benchmark("growth")
    assert growth.bend(seconds, 10.0) == pytest.approx(ratio)
    costs = [(count, growth.Cost(s, 300.0, 0.0)) for count, s in zip((100, 400, 1600), seconds, strict=True)]
    growth.print_step("a step", costs, growth.Cost(10.0, 200.0, 0.0))
    time_line, memory_line = capsys.readouterr().out.splitlines()
    assert ("goal" in time_line) == (ratio is not None)
    assert ("no verdict" in time_line) == (ratio is None)
    assert ("goal <= 1.5: met" in time_line) == (ratio == 1.0)
    assert "goal <= 2: met" in memory_line


def test_memory_is_always_judged(benchmark, capsys):
    growth = benchmark("growth")
    costs = [(count, growth.Cost(10.0, own, 50.0)) for count, own in ((1024, 200), (4096, 300), (16384, 410))]
    growth.print_step("a step", costs, growth.Cost(10.0, 150.0, 0.0))
    line = capsys.readouterr().out.splitlines()[1]
    assert "memory at 16 x / at 1 x: 2.05 x goal <= 2: missed" in line
    assert "14.0 KiB per additional frame" in line  # 210 MiB for 15,360 frames


def test_quadratic_growth_has_exponent_two(benchmark):
    exponent = benchmark("growth").exponent
    assert exponent([(10, 0.5), (100, 50.0)]) == pytest.approx(2)
    assert exponent([(1, 9.0), (10, 0.5), (100, 5.0)]) == pytest.approx(1)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system tells no process' share of pages")
def test_memory_shared_with_a_child_is_counted_once(benchmark, tmp_path):
    script = """
        import os, signal, time
        signal.alarm(60)
        held = b"x" * (100 << 20)
        if os.fork():
            os.wait()
        else:
            time.sleep(0.5)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    assert 95 < benchmark("growth").run(tmp_path / "script.py").own < 150


# gpu.py


def test_time_per_epoch_is_refused_if_the_number_of_epochs_differs(benchmark, monkeypatch, tmp_path):
    gpu, trained = benchmark("gpu"), 20
    seconds = {"fit": 60.0, "by_epoch": {"full": 2.5}}

    def run(command: list[str], **options: object) -> None:
        assert "finetune.phases.0.epochs=20" in command
        folder = Path(next(word for word in command if word.startswith("hydra.run.dir=")).split("=")[1])
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({"epochs": trained, "seconds": seconds}))

    monkeypatch.setattr(gpu.subprocess, "run", run)
    assert gpu.fervid([], str(tmp_path), 20, "cpu") == (3.0, 2.5)
    trained = 12
    with pytest.raises(SystemExit, match="12 epochs instead of 20"):
        gpu.fervid([], str(tmp_path), 20, "cpu")
