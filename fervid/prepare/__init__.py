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
    from fervid.prepare.prepared_corpus import PreparedCorpus
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
        if config.sample not in ("frame", "sound"):
            raise InputError(f"sample={config.sample} is unknown: choose frame or sound.")
        from hydra.utils import instantiate
        from rich.console import Console

        from fervid.data.corpus_datamodules import (
            CorpusDataModule,  # imported here: torch would slow down --help
        )
        from fervid.prepare.preparation import Part
        from fervid.prepare.prepared_corpus import PreparedCorpus

        datamodule = instantiate(config.dataset, cache_dir=config.cache_dir, _convert_="all")
        if not isinstance(datamodule, CorpusDataModule):
            raise InputError(
                f"dataset={datamodule.corpus} is rendered on demand and needs no preparation: give it to fervid.train."
            )
        faces = datamodule.prepared["image"]
        assert isinstance(faces, PreparedCorpus)
        corpus, summary, picture = _prepared(faces, config.sample)
        console = Console(highlight=False, soft_wrap=True, markup=False)
        was_prepared = corpus.is_prepared
        if config.part is not None and not was_prepared:
            done = corpus.prepare_part(Part(config.part, config.parts))
            console.print(
                f"Part {config.part} of {config.parts} is prepared: {done} of {len(corpus.inventory.clips)} files."
            )
            console.print("When all parts are prepared, run the same command without part and parts to join them.")
        else:
            console.print(("already prepared: " if was_prepared else "") + summary(corpus.prepare()))
            console.print(
                f"Check {picture} and card.md in the output folder. failures.csv lists files that failed or were left "
                "out."
            )
        console.print(f"Output: {corpus.folder}")


def _prepared(faces: "PreparedCorpus", sample: str) -> "tuple[PreparedFolder, Callable[[dict[str, Any]], str], str]":
    """Returns what a sample prepares, the function that summarises its card, and the name of its picture."""
    if sample == "frame":
        from fervid.prepare.card import summary

        return faces, summary, "contact_sheet.png"
    from fervid.prepare.prepared_sounds import PreparedSounds
    from fervid.prepare.sound_card import summary

    sounds = PreparedSounds(faces.corpus, max_failures=faces.max_failures, folder=faces.parent)
    return sounds, summary, "spectrograms.png"


def main() -> None:
    """Entry point of ``fervid prepare``."""
    run(command, "prepare")
