"""Words for predicted valence and arousal and action units, for annotated pictures and the terminal."""

from collections.abc import Mapping

import numpy as np

from fervid.schema.parts import AFFECT, PRESENT, Part

UNITS_PER_LINE = 5  # of a label in a picture


def part_lines(others: Mapping[Part, np.ndarray]) -> list[str]:
    """Returns lines such as ``valence +0.62 arousal -0.10`` and ``AU6 AU12``, the units that are present.

    Args:
        others: the values of the parts other than the emotion.
    """
    lines = []
    for part, values in others.items():
        if part.name == AFFECT:
            lines.append(" ".join(f"{name} {value:+.2f}" for name, value in zip(part.titles, values, strict=True)))
            continue
        present = present_units(part, values)
        lines += [" ".join(present[start : start + UNITS_PER_LINE]) for start in range(0, len(present), UNITS_PER_LINE)]
        lines += [] if present else ["no action unit"]
    return lines


def present_units(part: Part, values: np.ndarray) -> list[str]:
    """Returns the titles of the action units that are present, such as ``AU12``.

    Args:
        part: the action units.
        values: their probabilities, shape (len(part.names),).
    """
    return [title for title, value in zip(part.titles, values, strict=True) if value >= PRESENT]
