import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from io import StringIO

import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from fervid.report.writing import Section, latex, markdown, print_report, write_report
from fervid.schema.tables import MAX_ROWS, Table

NASTY = r"<script>alert(1)</script> a|b & 50% of $x_1^2$ #1 {~} \end ± [bold]"


def table(rows=3, name="results"):
    data = pd.DataFrame(
        {
            "system": [f"{NASTY} {number}" for number in range(rows)],
            "leakage": "leaky",
            "a_b|c%": [0.123456 * number for number in range(rows)],
            "number of subjects": pd.array([None, *range(1, rows)], dtype="Int64"),
            "remark": [None, *["a few words"] * (rows - 1)],
        }
    )
    return Table(name, f"About {NASTY}", data, {"a_b|c%": "{:.1%}"}, [f"A note: {NASTY}."])


def figure():
    drawn = Figure(figsize=(1, 1))
    drawn.subplots().plot([0, 1])
    return drawn


class Page(HTMLParser):
    """Tags, cells and texts of an HTML page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.cells, self.texts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append((tag, dict(attributes).get("class"), ""))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            tag, kind, text = self.cells.pop()
            self.cells.append((tag, kind, text + data.strip()))


@pytest.fixture
def written(tmp_path):
    sections = [
        Section(f"First {NASTY}", [table(), table(MAX_ROWS + 5, "long")], {"one": figure()}, [f"A sentence: {NASTY}."]),
        Section("Second", figures={"two": figure()}),
    ]
    write_report(tmp_path, f"Title {NASTY}", [f"In short: {NASTY}."], sections)
    return tmp_path


def test_all_files_are_there(written):
    files = {str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()}
    assert files == {
        *("report.html", "report.md", "tables/results.csv", "tables/results.tex", "tables/long.csv", "tables/long.tex"),
        *("figures/one.png", "figures/one.pdf", "figures/two.png", "figures/two.pdf"),
    }
    assert (written / "figures/one.png").read_bytes().startswith(b"\x89PNG")
    assert (written / "figures/one.pdf").read_bytes().startswith(b"%PDF")


class TestPage:
    def test_page_is_self_contained_and_has_no_scripts(self, written):
        text = (written / "report.html").read_text(encoding="utf-8")
        page = Page(text)
        assert page.open == []
        tags = [tag for tag, _ in page.tags]
        assert not {"script", "link", "iframe", "object"} & set(tags)
        places = [attributes.get(key, "") for _, attributes in page.tags for key in ("src", "href", "srcset", "action")]
        assert {place.split(",")[0] for place in places if place} == {
            *("data:image/png;base64", "#section-1", "#section-2")
        }
        assert "@import" not in text
        assert "url(" not in text
        assert {attributes["id"] for _, attributes in page.tags if "id" in attributes} == {"section-1", "section-2"}

    def test_page_has_all_content(self, written):
        page = Page((written / "report.html").read_text(encoding="utf-8"))
        tags = [tag for tag, _ in page.tags]
        assert (tags.count("table"), tags.count("img")) == (2, 2)
        shown = " ".join(page.texts)
        for text in ("Title", "In short:", "First", "A sentence:", "About", "A note:"):
            assert f"{text} {NASTY}" in shown
        assert f"{NASTY} {MAX_ROWS - 1}" in shown

    def test_numbers_are_right_aligned(self, written):
        page = Page((written / "report.html").read_text(encoding="utf-8"))
        heads = [(text, kind) for tag, kind, text in page.cells if tag == "th"][:5]
        assert heads == [
            *(("system", None), ("leakage", None), ("a_b|c%", "number"), ("number of subjects", "number")),
            ("remark", None),
        ]
        cells = [(text, kind) for tag, kind, text in page.cells if tag == "td"]
        assert cells[2:5] == [("0.0%", "number"), ("", "number"), ("", None)]
        assert cells[7:10] == [("12.3%", "number"), ("1", "number"), ("a few words", None)]

    def test_long_table_is_shortened_with_a_note(self, written):
        text = (written / "report.html").read_text(encoding="utf-8")
        assert text.count("<tr>") == 2 + 3 + MAX_ROWS
        assert "5 more rows: tables/long.csv" in text
        assert "more rows: tables/results.csv" not in text


def cells(line):
    """Cells of a line of a Markdown table."""
    assert line.startswith("|")
    assert line.endswith("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


class TestMarkdown:
    def test_tables_parse(self):
        text = markdown("Title", ["In short."], [Section("First", [table(), table(MAX_ROWS + 5, "long")])])
        blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
        assert len(blocks) == 2
        for block, rows in zip(blocks, (3, MAX_ROWS), strict=True):
            head, rule, *body = map(cells, block.splitlines())
            assert len(body) == rows
            assert {len(line) for line in (head, rule, *body)} == {5}
            assert [cell.endswith(":") for cell in rule] == [False, False, True, True, False]
            assert head[2] == r"a_b\|c%"
            assert r"a\|b" in body[1][0]
            assert body[1][2:] == ["12.3%", "1", "a few words"]
        assert "\n5 more rows: tables/long.csv\n" in text

    def test_line_breaks_in_cells_are_removed(self):
        data = pd.DataFrame({"remark": ["one\ntwo", "three"]})
        text = markdown("Title", [], [Section("First", [Table("a", "A", data)])])
        assert [cells(line) for line in text.splitlines() if line.startswith("|")][2:] == [["one two"], ["three"]]

    def test_figures_are_linked(self, written):
        text = (written / "report.md").read_text(encoding="utf-8")
        pictures = re.findall(r"!\[\w+\]\((.+?)\)", text)
        assert pictures == ["figures/one.png", "figures/two.png"]
        assert all((written / picture).exists() for picture in pictures)
        assert text.startswith("# Title")
        assert text.count("\n## ") == text.count("\n### ") == 2

    def test_table_without_rows(self):
        empty = Table("empty", "Nothing", pd.DataFrame(columns=["a", "b"]))
        lines = markdown("Title", [], [Section("First", [empty])]).splitlines()
        assert next(cells(line) for line in lines if line.startswith("|")) == ["a", "b"]


class TestLatex:
    def test_special_characters_are_escaped(self):
        text = latex(table())
        # After removing the escapes, no special character may be left except column separators.
        inside = text[text.index("\\midrule") + 8 : text.index("\\bottomrule")].replace(r"\\", "")
        inside = re.sub(r"\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}", "", inside)
        inside = re.sub(r"\\[&%$#_{}]|\$\\pm\$", "", inside)
        assert not set(inside) & set("\\~^%$#_{}")
        assert [line.count("&") for line in inside.strip().splitlines()] == [4, 4, 4]
        for word in (r"\&", r"50\%", r"\$x\_1\textasciicircum{}2\$", r"\#1", r"\{\textasciitilde{}\}", r"$\pm$"):
            assert word in inside or word in text
        assert r"a\_b\textbar{}c\%" in text
        assert r"\textbackslash{}end" in text

    def test_caption_is_sentences(self):
        text = latex(Table("it", "A title", pd.DataFrame({"a": [1]}), notes=["One note.", "Another."]))
        assert r"\caption{A title. One note. Another.}" in text

    @pytest.mark.parametrize("rows", [1, 3, MAX_ROWS + 5])
    def test_booktabs_table(self, rows):
        text = latex(table(rows))
        begun, ended = (re.findall(rf"(?<!\\textbackslash{{}})\\{word}\{{(\w+)\}}", text) for word in ("begin", "end"))
        assert begun == ["table", "tabular"]
        assert ended == begun[::-1]
        assert r"\begin{tabular}{llrrl}" in text
        assert all(rf"\{rule}rule" in text for rule in ("top", "mid", "bottom"))
        assert r"\label{tab:results}" in text
        assert text.count(r" \\") == rows + 1  # LaTeX tables are never shortened
        bare = re.sub(r"\\[{}]", "", text)
        assert bare.count("{") == bare.count("}")

    @pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
    def test_latex_compiles(self, tmp_path):
        head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        (tmp_path / "it.tex").write_text(f"{head}{latex(table())}\\end{{document}}", encoding="utf-8")
        subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "it.tex"], cwd=tmp_path, check=True)


def test_csv_is_complete_and_exact(written):
    for name, rows in (("results", 3), ("long", MAX_ROWS + 5)):
        file = written / "tables" / f"{name}.csv"
        read = pd.read_csv(file, dtype={"number of subjects": "Int64"})
        expected = table(rows, name).data
        pd.testing.assert_frame_equal(read, expected, check_dtype=False)
        written_numbers = pd.read_csv(file, dtype=str)["a_b|c%"].map(float)  # pandas 2 reads numbers inexactly
        assert written_numbers.tolist() == expected["a_b|c%"].tolist()  # to the last digit


def test_text_of_cells():
    data = pd.DataFrame(
        {
            "share": [0.5, float("nan"), 0.25],
            "words": ["{x}", None, "1"],
            "whole": pd.array([1, 2, pd.NA], dtype="Int64"),
            "both": ["a", 0.5, None],
        }
    )
    text = Table("a", "A", data, {"share": "{:.0%}", "words": "{:.1f}", "both": "{:.2f}"}).text()
    assert text["share"].tolist() == ["50%", "", "25%"]
    assert text["words"].tolist() == ["{x}", "", "1"]
    assert text["whole"].tolist() == ["1", "2", ""]
    assert text["both"].tolist() == ["a", "0.50", ""]


class TestTerminal:
    def shown(self, sections, width=80):
        console = Console(file=StringIO(), width=width)
        print_report(console, sections)
        return console.file.getvalue()

    def test_only_terminal_sections_are_printed(self):
        one, other = (Section(name, [table(name=name)], sentences=[name], terminal=name == "a") for name in "ab")
        shown = self.shown([one, other], 400)
        assert "- a" in shown
        assert "- b" not in shown
        assert f"{NASTY} 2" in shown  # not interpreted as markup
        assert f"A note: {NASTY}." in shown

    @pytest.mark.parametrize("width", [80, 60])
    def test_no_cell_is_truncated(self, width):
        data = pd.DataFrame(
            {
                "set": [1, 1],
                "system": ["vgg16, finetune=two_phase, lr=0.0001", "an-uncommonly-long-name-of-a-backbone, lr=0.001"],
                "leakage": ["subject-independent", "subject-dependent"],
                "runs": [5, 5],
                **{f"{name} frames": ["60.1% ± 5.1", "55.5% ± 10.2"] for name in ("UAR", "WAR", "F1")},
                "UAR inflation": [None, 12.3],
            }
        )
        shown = self.shown([Section("A", [Table("a", "A", data)], terminal=True)], width)
        assert "…" not in shown
        assert "..." not in shown
        assert max(map(len, shown.splitlines())) <= width
        # Cells are wrapped, but no letter is lost.
        letters = Counter(
            "".join([*data, *data.astype(object).fillna("").astype(str).to_numpy().ravel()]).replace(" ", "")
        )
        assert not letters - Counter(shown)

    def test_long_table_is_shortened_with_a_note(self):
        shown = self.shown([Section("A", [table(MAX_ROWS + 5)], terminal=True)], 400)
        assert "5 more rows: tables/results.csv" in shown
        assert f"{NASTY} {MAX_ROWS - 1} " in shown
        assert f"{NASTY} {MAX_ROWS} " not in shown
