"""Cuts the faces out of a corpus: ``python -m fervid.prepare dataset=ravdess dataset.root=RAVDESS``.

All that can be set: ``python -m fervid.prepare --help``.
"""

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.schema.errors import InputError


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="prepare")
def command(config: DictConfig) -> None:
    """Prepares what the configuration describes, unless it is."""
    with job(config):
        if config.get("dataset") is None:
            raise InputError(
                "nothing to prepare: give dataset=enterface, hf_faces, image_folder, ised, ravdess or video_folder, "
                "and dataset.root=<folder>."
            )
        from hydra.utils import instantiate
        from rich.console import Console

        from fervid.data.prepared import PreparedDataModule
        from fervid.prepare.card import summary  # torch and all that: seconds that --help should not wait for

        corpus = instantiate(config.dataset, cache_dir=config.cache_dir, _convert_="all")
        if not isinstance(corpus, PreparedDataModule):
            raise InputError(f"dataset={corpus.corpus} is rendered when it is needed: there is nothing to prepare.")
        before = corpus.is_prepared
        card = corpus.prepare_faces()
        console = Console(highlight=False, soft_wrap=True, markup=False)
        console.print(("prepared before: " if before else "") + summary(card))
        console.print(f"everything lies in {corpus.prepared}")
        console.print(
            "look at contact_sheet.png and card.md there; failures.csv names what failed and what was left out"
        )


def main() -> None:
    """The way in, also as ``fervid-prepare``."""
    run(command, "prepare")
