import sys
from pathlib import Path

import numpy as np
import pytest

from fervid.synthetic import rendering
from fervid.synthetic.corpus import NOT_DRAWING, RenderedSubjects


def test_number_of_frames_subjects_and_clips(synthetic):
    frames = synthetic(identities=6, clips=2, frames=3).rows
    assert len(frames) == 6 * 8 * 2 * 3
    assert (frames.groupby("subject")["sex"].nunique() == 1).all()
    assert set(frames["intensity"]) == {"normal", "strong"}
    assert set(frames.loc[frames["emotion"] == "neutral", "intensity"]) == {"normal"}
    assert (frames.groupby("clip")["frame"].nunique() == 3).all()


def test_face_cache_contains_the_rendered_faces(synthetic):
    datamodule = synthetic(image_size=128)
    row = datamodule.manifest.iloc[17]
    drawn = rendering.render_crops(
        rendering.make_identity(row["identity"], 0),
        row["emotion"],
        take=row["take"],
        intensity=row["intensity"],
        frames=60,
        size=128,
        fps=30.0,
        seed=0,
        times=[row["frame"]],
    ).images[0]
    assert np.array_equal(datamodule.face_cache[row["cache_row"]], drawn)


def test_faces_are_rendered_once(synthetic, monkeypatch):
    synthetic()
    monkeypatch.setattr(rendering, "render_crops", lambda *a, **k: pytest.fail("rendered again"))
    synthetic(image_size=20)


def test_another_seed_gives_other_subjects(synthetic):
    one, other = synthetic(), synthetic(render_seed=1)
    assert one.folder != other.folder
    assert not np.array_equal(one.face_cache[0], other.face_cache[0])


def test_fingerprint_depends_on_every_rendering_module(monkeypatch):
    corpus, read = RenderedSubjects(), Path.read_bytes
    before = corpus.fingerprint()
    modules = {name: module for name, module in sys.modules.items() if name.startswith("fervid.synthetic.")}
    rendering_modules = {Path(str(module.__file__)).name for module in modules.values()} - NOT_DRAWING
    assert {"painting.py", "voice.py"} <= rendering_modules
    for name in sorted(rendering_modules):
        monkeypatch.setattr(Path, "read_bytes", lambda path, name=name: read(path) + b"#" * (path.name == name))
        assert corpus.fingerprint() != before, name
