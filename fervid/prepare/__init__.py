"""Extracts the face crops of a corpus, once for all runs.

Example: ``python -m fervid.prepare dataset=ravdess dataset.root=RAVDESS``.

All settings: ``python -m fervid.prepare --help``.
"""

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.cli.options import corpora_of_files
from fervid.errors import InputError
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="prepare")
def command(config: DictConfig) -> None:
    """Prepares what the configuration describes, unless it is."""
    with job(config):
        if config.get("dataset") is None:
            corpora = corpora_of_files()
            raise InputError(
                f"nothing to prepare: give dataset={', '.join(corpora[:-1])} or {corpora[-1]}, and "
                "dataset.root=<folder>."
            )
        if (config.part is None) != (config.parts is None):
            raise InputError("part and parts belong together: part=0 parts=4 is the first of four parts.")
        from hydra.utils import instantiate
        from rich.console import Console

        from fervid.data.corpus_datamodules import (
            CorpusDataModule,  # torch and all that: seconds that --help need not wait for
        )
        from fervid.prepare.card import summary
        from fervid.prepare.preparation import Part

        datamodule = instantiate(config.dataset, cache_dir=config.cache_dir, _convert_="all")
        if not isinstance(datamodule, CorpusDataModule):
            raise InputError(f"dataset={datamodule.corpus} is rendered when it is needed: there is nothing to prepare.")
        corpus = datamodule.prepared
        console = Console(highlight=False, soft_wrap=True, markup=False)
        before = corpus.is_prepared
        if config.part is not None and not before:
            done = corpus.prepare_part(Part(config.part, config.parts))
            console.print(
                f"Part {config.part} of {config.parts} is prepared: {done} of {len(corpus.inventory.clips)} files."
            )
            console.print("Once all parts are, the same command without part and parts joins them.")
        else:
            console.print(("prepared before: " if before else "") + summary(corpus.prepare()))
            console.print(
                "look at contact_sheet.png and card.md there; failures.csv names what failed and what was left out"
            )
        console.print(f"Output: {corpus.folder}")


def main() -> None:
    """Runs the command; also as ``fervid prepare``."""
    run(command, "prepare")
