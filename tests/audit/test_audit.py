import json

import pytest


def test_reports_and_draws_leaks(fervid_command, tmp_path, capsys):
    words = ["dataset.identities=6", "dataset.clips=2", "dataset.frames=2"]
    fervid_command("audit", *words, "split=random_frames", f"hydra.run.dir={tmp_path / 'leaky'}")
    output = capsys.readouterr().out
    assert "Leakage between subsets (leaky)" in output
    found = json.loads((tmp_path / "leaky" / "audit.json").read_text())
    assert found["level"] == "leaky"
    assert found["clips"]["total"] == 96
    assert 30 < found["clips"]["count"] < 96  # clips of two frames; some are in one subset by chance
    assert (tmp_path / "leaky" / "leaks.png").stat().st_size > 10_000
    fervid_command("audit", *words, f"hydra.run.dir={tmp_path / 'clean'}")
    assert "Leakage between subsets (subject-independent)" in capsys.readouterr().out
    assert not (tmp_path / "clean" / "leaks.png").exists()
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == ["audit.json"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["split=fair"], "there is no split 'fair'"),
        (["dataset.identities=6", "split=subject_kfold", "split.fold=9"], "split.fold=9"),
        (["dataset=hf_faces", "dataset.root=/nowhere"], "/nowhere"),
    ],
)
def test_mistakes_are_reported_in_one_sentence(fervid_command, capsys, words, sentence, tmp_path):
    with pytest.raises(SystemExit):
        fervid_command("audit", *words, f"hydra.run.dir={tmp_path}")
    text = capsys.readouterr().err.strip()
    assert sentence in text
    assert "\n" not in text
