"""Processes that start simultaneously with an empty cache, and processes killed while they fill it."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

CORPUS = """
    import os
    import sys
    import time
    from io import BytesIO

    import numpy as np
    import pandas as pd

    from fervid.data.datamodule import EmotionDataModule

    COUNT = 3000


    class Noise:
        name, subjects_from, face_size = "noise", None, None
        failures = pd.DataFrame(columns=["path", "reason", "outcome"])

        def rows(self, modalities):
            row = np.arange(COUNT)
            return pd.DataFrame({
                "corpus": self.name, "subject": row % 30, "clip": row, "frame": row, "time": 0.0, "path": "",
                "emotion": np.where(row % 2, "sad", "happy"),
            }).astype({"subject": str, "clip": str})

        def fingerprint(self):
            return ""

        def about(self):
            return {"rendered": True}

        def open(self, modality, rows, cache):
            pictures = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)

            return pictures.__getitem__


    def tell(sentence):
        os.write(1, f"{sentence}\\n".encode())
"""


@pytest.fixture
def start():
    """Runs a program with the corpus above in a separate process with piped input and output."""
    started = []

    def run(program, *words):
        code = textwrap.dedent(CORPUS) + textwrap.dedent(program)
        command = [sys.executable, "-c", code, *map(str, words)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_unfinished_files_are_not_read_by_other_processes(start, tmp_path):
    slow = start(
        """
        whole = np.save


        def half(file, array):
            content = BytesIO()
            whole(content, array)
            with open(file, "wb") as file:
                file.write(content.getvalue()[:50_000])
                file.flush()
                tell("half of the hashes is written")
                time.sleep(600)


        np.save = half
        EmotionDataModule([Noise()], image_size=8, cache_dir=sys.argv[1]).prepare_data()
        """,
        tmp_path,
    )
    assert "half of the hashes is written\n" in slow.stdout  # reads on until it is
    assert not list(tmp_path.rglob("faces_8.*"))
    beside = start(
        "tell('begins'); EmotionDataModule([Noise()], image_size=8, cache_dir=sys.argv[1]).prepare_data()", tmp_path
    )
    assert "begins\n" in beside.stdout
    slow.kill()
    beside.communicate(timeout=120)
    assert beside.returncode == 0
    (hashes,) = tmp_path.rglob("faces_8.hashes.npy")
    assert np.load(hashes).any(axis=1).all()


@pytest.mark.slow
def test_leftovers_of_killed_process_are_removed_at_next_start(start, tmp_path):
    program = """
        if len(sys.argv) > 2:
            Noise.open = lambda self, modality, rows, cache: lambda row: tell("writing") or time.sleep(60)
        EmotionDataModule([Noise()], image_size=8, cache_dir=sys.argv[1]).prepare_data()
    """
    killed = start(program, tmp_path, "wait")
    assert "writing\n" in killed.stdout
    killed.kill()
    killed.communicate()
    left = {path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert left
    after = start(program, tmp_path)
    after.communicate()
    assert after.returncode == 0
    assert not left & set(tmp_path.rglob("*"))
