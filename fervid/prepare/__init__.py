"""Extracts the face crops or the sound of a corpus, once for all runs.

Example: ``python -m fervid.prepare dataset=ravdess dataset.root=RAVDESS``.

All settings: ``python -m fervid.prepare --help``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.cli.options import corpora_of_files
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER

if TYPE_CHECKING:
    from rich.console import Console

    from fervid.prepare.prepared_folder import PreparedFolder


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="prepare")
def command(config: DictConfig) -> None:
    """Prepares the configured corpus unless it is already prepared."""
    with job(config):
        if config.get("dataset") is None:
            corpora = corpora_of_files()
            raise InputError(
                f"nothing to prepare: give dataset={', '.join(corpora[:-1])} or {corpora[-1]}, and "
                "dataset.root=<folder>."
            )
        if (config.part is None) != (config.parts is None):
            raise InputError("part and parts must be given together: part=0 parts=4 is the first of four parts.")
        from hydra.utils import instantiate
        from rich.console import Console

        from fervid.data.corpus_datamodules import CorpusDataModule  # imported here: torch would slow down --help
        from fervid.data.several_corpora import SeveralDataModule

        sample = instantiate(config.sample, _convert_="all")
        datamodule = instantiate(config.dataset, sample=sample, cache_dir=config.cache_dir, _convert_="all")
        several = list(datamodule.datamodules.values()) if isinstance(datamodule, SeveralDataModule) else [datamodule]
        of_files = [each for each in several if isinstance(each, CorpusDataModule)]
        if not of_files:
            raise InputError(
                f"dataset={datamodule.corpus} is rendered on demand and needs no preparation: give it to fervid.train."
            )
        console = Console(highlight=False, soft_wrap=True, markup=False)
        for each in of_files:
            for modality, corpus in each.prepared.items():
                _prepare(console, modality, corpus, config.part, config.parts)


def _prepare(console: "Console", modality: str, corpus: "PreparedFolder", part: int | None, parts: int | None) -> None:
    """Prepares one modality of a corpus, or a part of it, and prints what to check."""
    was_prepared = corpus.is_prepared
    if part is not None and parts is not None and not was_prepared:
        from fervid.prepare.preparation import Part

        done = corpus.prepare_part(Part(part, parts))
        console.print(f"Part {part} of {parts} is prepared: {done} of {len(corpus.inventory.clips)} files.")
        console.print("When all parts are prepared, run the same command without part and parts to join them.")
    else:
        summary, shown = _presented(modality)
        console.print(("already prepared: " if was_prepared else "") + summary(corpus.prepare()))
        console.print(f"Check {shown} in the output folder. failures.csv lists files that failed or were left out.")
    console.print(f"Output: {corpus.folder}")


def _presented(modality: str) -> "tuple[Callable[[dict[str, Any]], str], str]":
    """Returns the function that summarises the card of a modality, and the names of the files to look at."""
    if modality == "features":
        return lambda card: f"{card['features']} features of {card['clips']} clips.", "columns.json"
    if modality == "image":
        from fervid.prepare.card import summary

        return summary, "contact_sheet.png and card.md"
    from fervid.prepare.sound_card import summary

    return summary, "spectrograms.png and card.md"


def main() -> None:
    """Entry point of ``fervid prepare``."""
    run(command, "prepare")
