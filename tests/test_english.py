"""The words of the project: none that the glossary of the documentation replaces."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("fervid", "conf", "tests", "benchmarks", "examples", "notebooks", "docs", ".github")
SUFFIXES = {".py", ".yaml", ".yml", ".md", ".ipynb", ".toml", ".jinja", ".html", ".css", ".js", ".svg", ""}
REPLACED = {
    r"\bsides? of (the|a|its|their) split|\b(two|both|training|validation|test) sides?\b": "subset",
    r"clip-independent|people unknown|honest (twin|split)": "a leakage level, subject-independent counterpart",
    r"\bstands? still\b|what learns\b|learning parts?\b": "frozen or trainable stages",
    r"so manieth": "frame stride",
    r"\bfirst_stage\b|\blr_scale\b": "unfreeze_from, lr_factor",
    r"\bcut(s|ting)? out\b": "crop",
    r"\bgoes on (where|from|with|bit|in its)|\bwent on\b|\banew\b|\bpassed over\b": "resume, re-run, skip",
    r"[Ee]verything lies": "Output:",
    r"(?<!there) is no (seed|number|share|setting|folder|column|time|size|rate)\b": "is out of range, is not ...",
    r"\b[Gg]rey": "gray, grayscale",
    r"split=(given|fixed|file)\b": "split=predefined, published_folds, csv",
    r"\b(MOST|FEW|FEWEST|QUICK|LONGEST)_?[A-Z]*\b(?! of)": "MAX_, MIN_ with a unit",
    r"FaceStore|ResidentLoader|WholeCheckpointIO|class Listener": "FaceCache, DeviceLoader, ...",
    r"[\"'`]view/|weights_kept/|train_lr/": "figures/, best/, lr/",
    r"\bwhy_not\b|\btold\b": "plain words",
}


def test_no_replaced_word_is_left():
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    files += [*sorted(ROOT.glob("*.md")), ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "mkdocs.yml"]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()} -> {better}"
        for path in files
        if path.is_file() and path != Path(__file__)
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), start=1)
        for pattern, better in REPLACED.items()
        if (match := re.search(pattern, line))
    ]
    assert not found, "\n".join(found)
    assert len(files) > 400
