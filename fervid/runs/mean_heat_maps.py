"""What ``fervid.explain`` leaves of each emotion in a run folder, for the report: mean faces and mean heat maps."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fervid import figures
from fervid.schema.atomic import writing
from fervid.schema.errors import InputError, first_line

HEAT_MAPS = "explanation/heat_maps.npz"  # in a run folder


@dataclass(frozen=True)
class MeanHeatMaps:
    """What a network looks at in each of K emotions, on the mean of the faces it was shown.

    Attributes:
        emotions: the K emotions that are in the test.
        faces: the mean faces, uint8 (K, S, S, 3) RGB.
        maps: the means of their heat maps, float32 (K, S, S) in [0, 1].
        frames: how many were averaged, shape (K,).
        right: whether these were frames that the network is right about, shape (K,); else any of the emotion.
    """

    emotions: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    frames: np.ndarray
    right: np.ndarray

    def draw(self, title: str = "") -> Figure:
        """The mean faces and, below, what is looked at in them; all on one scale."""
        heat = self.maps / max(float(self.maps.max()), 1e-6)
        shown = np.stack([figures.overlay(face, own) for face, own in zip(self.faces, heat, strict=True)])
        kinds = np.where(self.right, " right", ", right or wrong")
        captions = [f"{count}{kind}" for count, kind in zip(self.frames, kinds, strict=True)]
        return figures.mean_heat_maps(self.faces, shown, self.emotions.tolist(), captions, title)

    def save(self, path: Path) -> None:
        """Writes an ``.npz`` of plain arrays."""
        with writing(path) as partial:
            np.savez_compressed(partial, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "MeanHeatMaps":
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: if the file is damaged or of another kind.
        """
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                made = cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read ({first_line(error)}): run fervid.explain again.") from error
        kinds = [array.dtype.kind for array in vars(made).values()]
        number, size = len(made.faces), made.faces.shape[1:2]
        shapes = [(number,), (number, *size, *size, 3), (number, *size, *size), (number,), (number,)]
        if kinds != ["U", "u", "f", "i", "b"] or [array.shape for array in vars(made).values()] != shapes or not number:
            raise InputError(f"{path} holds no heat maps: run fervid.explain again.")
        return made
