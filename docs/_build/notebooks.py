"""Adds the notebooks to the site, because MkDocs includes only files below ``docs``."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

FOLDER = Path(__file__).parents[2] / "notebooks"


def on_files(files: Any, config: Any) -> Any:
    """Adds each notebook as a file that pages can link to; MkDocs calls it."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Points the links of a page, which are those of the repository, to the site's notebooks; MkDocs calls it."""
    return markdown.replace("](../notebooks/", "](notebooks/")
