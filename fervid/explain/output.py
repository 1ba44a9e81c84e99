"""Writes the figures of an explanation to a folder, and shows them on TensorBoard."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from matplotlib.figure import Figure

from fervid.errors import InputError
from fervid.figures import save
from fervid.runs.run import Run
from fervid.storage.atomic import filling

FOLDER = "explanation"  # in a run folder


def write_explanation(
    folder: Path, drawn: Mapping[str, Figure], others: Mapping[str, Callable[[Path], object]] = MappingProxyType({})
) -> list[Path]:
    """Writes all files to a temporary folder first, so that the output folder is complete or unchanged.

    Args:
        folder: the output folder.
        drawn: figures by the path of their PNG file in the folder, without the ending.
        others: functions that write a further file to a path, by the name of the file.

    Returns:
        The paths of the files and folders in the output folder that were written.

    Raises:
        InputError: if a file cannot be written.
    """
    try:
        with filling(folder) as new:
            for name, figure in drawn.items():
                save(figure, new / f"{name}.png", dpi=130)
            for name, write in others.items():
                write(new / name)
            files = sorted(folder / file.name for file in new.iterdir())
        return files
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}): free disk space or check its permissions."
        ) from error


def show_on_tensorboard(run: Run, drawn: Mapping[str, Figure]) -> None:
    """Adds figures to the TensorBoard events of a run, if it has any."""
    if not (run.folder / "tensorboard").is_dir():
        return
    from torch.utils.tensorboard import SummaryWriter

    # Next to the run's own events; for a job of a sweep, these are in a subfolder named after its settings.
    events = next((run.folder / "tensorboard").rglob("events.out*"), run.folder / "tensorboard" / "events")
    with SummaryWriter(str(events.parent)) as writer:
        for name, figure in drawn.items():
            writer.add_figure(f"figures/{name}", figure, global_step=run.results["epochs"])
