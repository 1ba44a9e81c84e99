"""Reports what a split leaks, without training.

Example: ``python -m fervid.audit dataset=ravdess dataset.root=RAVDESS split=clips``.

All settings: ``python -m fervid.audit --help``.
"""

import hydra
from omegaconf import DictConfig

from fervid.cli.command_line import run
from fervid.cli.job import job
from fervid.schema.config_folder import CONFIG_FOLDER


@hydra.main(version_base="1.3", config_path=CONFIG_FOLDER, config_name="audit")
def command(config: DictConfig) -> None:
    """Splits the corpus as a training run would and reports what several subsets share."""
    with job(config) as running:
        from hydra.utils import instantiate
        from rich.console import Console

        from fervid.audit.leakage import worst_pairs
        from fervid.runs.printing import print_audit, print_split
        from fervid.storage.atomic import write_json  # imported here: pandas would slow down --help by seconds

        folder = running.folder
        datamodule = instantiate(
            config.dataset,
            image_size=min(96, config.dataset.get("face_size", 96)),  # of the faces drawn in leaks.png
            split=instantiate(config.split),
            identity=instantiate(config.get("identity"), _convert_="all"),
            cache_dir=config.cache_dir,
            seed=config.seed,
            batch_size=1,
            _convert_="all",
        )
        datamodule.prepare_data()
        datamodule.setup()
        console = Console()
        print_split(console, datamodule)
        print_audit(console, datamodule.audit)
        write_json(folder / "audit.json", datamodule.audit.as_dict())
        if datamodule.people is not None:
            from fervid.runs.people import print_people, write_people

            write_people(folder, datamodule)
            print_people(console, datamodule)
        if worst_pairs(datamodule.manifest, datamodule.audit):
            from fervid import figures
            from fervid.runs.drawing import draw_leaks

            leaks = draw_leaks(datamodule)
            if leaks:
                figures.save(leaks, folder / "leaks.png")
        console.print(f"Output: {folder}", highlight=False, soft_wrap=True, markup=False)


def main() -> None:
    """Entry point of ``fervid audit``."""
    run(command, "audit")
