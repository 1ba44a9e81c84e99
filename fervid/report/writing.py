"""Writes a report as HTML, Markdown, CSV, LaTeX, PNG and PDF, and prints it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape

from fervid.figures import save
from fervid.schema.leakage_levels import LeakageLevel
from fervid.schema.tables import MAX_ROWS, Table
from fervid.storage.atomic import filling
from fervid.storage.escaping import latex_text, markdown_text, spreadsheet


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title: heading of the section.
        tables: tables, in order.
        figures: figures by file name, without the ending.
        sentences: bullet points above the tables.
        terminal: whether the section is also printed on the terminal.
    """

    title: str
    tables: Sequence[Table] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    terminal: bool = False


def write_report(folder: Path, title: str, summary: Sequence[str], sections: Sequence[Section]) -> None:
    """Writes ``report.html``, ``report.md``, ``tables/*.csv``, ``tables/*.tex``, ``figures/*.png`` and ``*.pdf``.

    The files of an earlier report are replaced only after all new files have been written.

    Args:
        folder: output folder; created if it does not exist.
        title: title of the report.
        summary: sentences below the title.
        sections: sections of the report.
    """
    with filling(folder) as new:
        for name in ("tables", "figures"):
            (new / name).mkdir()
        for section in sections:
            for table in section.tables:
                spreadsheet(table.data).to_csv(new / "tables" / f"{table.name}.csv", index=False)
                (new / "tables" / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")
            for name, figure in section.figures.items():
                save(figure, new / "figures" / f"{name}.png", dpi=130)
                figure.savefig(new / "figures" / f"{name}.pdf")
        (new / "report.md").write_text(markdown(title, summary, sections), encoding="utf-8")
        (new / "report.html").write_text(page(title, summary, sections, new / "figures"), encoding="utf-8")


def page(title: str, summary: Sequence[str], sections: Sequence[Section], figures: Path) -> str:
    """Renders the report as a single self-contained HTML page.

    Args:
        title: title of the report.
        summary: sentences below the title.
        sections: sections of the report.
        figures: folder with the PNG figures, which are embedded in the page.
    """
    environment = Environment(
        loader=PackageLoader("fervid.report", ""), autoescape=select_autoescape(default=True), trim_blocks=True
    )
    pictures = {
        name: "data:image/png;base64," + base64.b64encode((figures / f"{name}.png").read_bytes()).decode()
        for section in sections
        for name in section.figures
    }
    template = environment.get_template("page.html.jinja")
    return template.render(
        title=title,
        summary=summary,
        sections=sections,
        pictures=pictures,
        max_rows=MAX_ROWS,
        right_columns=Table.right_columns,
        colours={str(level): level.colour for level in LeakageLevel},
        notes=_notes,
    )


def markdown(title: str, summary: Sequence[str], sections: Sequence[Section]) -> str:
    """Renders the report as Markdown, with links to the PNG figures."""
    lines = [f"# {markdown_text(title)}", "", *(f"{markdown_text(sentence)}\n" for sentence in summary)]
    for section in sections:
        sentences = [f"- {markdown_text(sentence)}" for sentence in section.sentences]
        lines += [f"## {markdown_text(section.title)}", "", *sentences, ""]
        for table in section.tables:
            text = table.text().head(MAX_ROWS).map(markdown_text).rename(columns=markdown_text)
            right = table.right_columns()
            align = ["right" if name in right else "left" for name in table.data]
            lines += [
                f"### {markdown_text(table.title)}",
                "",
                text.to_markdown(index=False, disable_numparse=True, colalign=align),
                "",
            ]
            lines += [f"{markdown_text(note)}\n" for note in _notes(table)]
        lines += [f"![{name}](figures/{name}.png)\n" for name in section.figures]
    return "\n".join(lines)


def latex(table: Table) -> str:
    """Renders a table as a LaTeX ``table`` environment that uses booktabs."""
    right = table.right_columns()
    columns = "".join("r" if name in right else "l" for name in table.data)
    return (
        table.text()
        .map(latex_text)
        .rename(columns=latex_text)
        .to_latex(
            index=False,
            escape=False,
            caption=latex_text(" ".join([f"{table.title}.", *table.notes])),
            label=f"tab:{table.name}",
            column_format=columns,
        )
    )


def print_report(console: Console, sections: Sequence[Section]) -> None:
    """Prints the sections that are marked for the terminal."""
    for section in sections:
        if not section.terminal:
            continue
        for sentence in section.sentences:
            console.print(f"- {escape(sentence)}", highlight=False)
        for table in section.tables:
            table.print(console, _rest(table))


def _notes(table: Table) -> list[str]:
    return table.notes_with_rest(_rest(table))


def _rest(table: Table) -> str:
    return f": tables/{table.name}.csv"
