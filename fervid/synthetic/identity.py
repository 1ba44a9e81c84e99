"""The identity of a rendered person: all properties that are constant across clips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fervid.errors import InputError
from fervid.synthetic.brushes import Colour, rgb
from fervid.synthetic.expressions import ACTION_UNITS

SKINS = (  # RGB, light to deep
    (238, 196, 168),
    (232, 184, 152),
    (222, 172, 136),
    (214, 160, 120),
    (190, 134, 96),
    (158, 106, 74),
    (134, 90, 65),
    (110, 74, 56),
)
HAIRS = (
    (28, 23, 22),
    (52, 35, 27),
    (84, 55, 36),
    (120, 80, 46),
    (172, 128, 76),
    (205, 168, 112),
    (134, 62, 34),
    (132, 128, 126),
)
IRISES = ((72, 44, 26), (98, 62, 34), (122, 96, 52), (84, 112, 84), (84, 118, 152), (110, 130, 142))
MALE_STYLES = ("short", "swept", "buzz", "curly", "receding", "tousled")
FEMALE_STYLES = ("long", "bob", "fringe", "bun", "curls", "swept_long")
BEARDS = ("full", "none", "goatee", "none", "moustache")
# For each number its mean and the relative range of its variation.
BUILDS: dict[str, dict[str, tuple[tuple[float, float], ...]]] = {
    "male": {
        "face": ((1.0, 0.05), (1.04, 0.06), (1.12, 0.15), (1.02, 0.05)),
        "eyes": ((0.170, 0.05), (0.086, 0.07), (0.039, 0.12)),
        "brows": ((0.108, 0.1), (0.026, 0.2), (0.018, 0.5)),
        "nose": ((1.06, 0.14), (1.0, 0.08), (1.0, 0.4)),
        "mouth": ((0.134, 0.1), (0.024, 0.25), (0.034, 0.2), (1.0, 0.03)),
    },
    "female": {
        "face": ((1.0, 0.05), (0.95, 0.06), (0.92, 0.15), (0.98, 0.05)),
        "eyes": ((0.170, 0.05), (0.086, 0.07), (0.044, 0.12)),
        "brows": ((0.118, 0.1), (0.018, 0.2), (0.026, 0.5)),
        "nose": ((0.95, 0.14), (1.0, 0.08), (1.0, 0.4)),
        "mouth": ((0.128, 0.1), (0.029, 0.25), (0.040, 0.2), (1.0, 0.03)),
    },
}
HABITS = (1, 2, 4, 5, 7, 12, 15, 17, 43, 10)  # action units that may be slightly active in a resting face


@dataclass(frozen=True)
class Identity:
    """A person: all properties that are constant across clips.

    Attributes:
        number: number of the person, from 1.
        subject: name of the person in a manifest, such as `"s01"`.
        sex: `"male"` (odd numbers, as in RAVDESS) or `"female"`.
        spectacles: whether the person wears glasses.
        beard: whether the person has a beard or a moustache.
        skin: RGB colour of the skin, 0 to 255.
        hair: RGB colour of hair, brows and beard.
        iris: RGB colour of the eyes.
        lip: RGB colour of the lips.
        hair_style: one of `MALE_STYLES` or `FEMALE_STYLES`.
        beard_style: one of `BEARDS`.
        face: widths of cheeks, jaw and chin, and length of the lower face, as factors near 1.
        eyes: distance of the eyes from the midline, half width, opening and tilt, in face heights.
        brows: height above the eyes, thickness, arch and tilt, in face heights.
        nose: width, length and bridge, as factors near 1.
        mouth: half width, thickness of upper and lower lip in face heights, and height as a factor near 1.
        age: 0 (smooth) to 1 (lined).
        resting: activity of each action unit without an emotion, in the order of `ACTION_UNITS`.
        expressiveness: factor for the activity of each action unit, in the same order.
    """

    number: int
    subject: str
    sex: str
    spectacles: bool
    beard: bool
    skin: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    hair_style: str
    beard_style: str
    face: tuple[float, ...]
    eyes: tuple[float, ...]
    brows: tuple[float, ...]
    nose: tuple[float, ...]
    mouth: tuple[float, ...]
    age: float
    resting: tuple[float, ...]
    expressiveness: tuple[float, ...]


def make_identity(number: int, seed: int) -> Identity:
    """Generates a person.

    Args:
        number: number of the person, from 1; odd numbers are men, even numbers women.
        seed: random seed of the set of people.

    Returns:
        The person; always the same for the same arguments.

    Raises:
        InputError: if `number` is below 1.
    """
    if number < 1:
        raise InputError(f"identity {number} is out of range: use 1 or more.")
    # Styles are drawn without replacement over all people of a seed, so that neighbours differ and every style occurs.
    deck = np.random.default_rng([seed, 0])
    skin_order, style_order = deck.permutation(len(SKINS)), deck.permutation(len(MALE_STYLES))
    glasses_order, beard_order = deck.permutation(4), deck.permutation(len(BEARDS))
    rng = np.random.default_rng([seed, number])
    male, turn = number % 2 == 1, (number - 1) // 2
    sex = "male" if male else "female"

    def build(part: str) -> tuple[float, ...]:
        return tuple(float(middle * (1 + rng.uniform(-1, 1) * share)) for middle, share in BUILDS[sex][part])

    tone = int(skin_order[number % len(SKINS)])
    skin = np.array(SKINS[tone]) * rng.uniform(0.96, 1.03)
    # Fair and red hair and light eyes occur only with the lighter half of the skin colours.
    hair = np.array(HAIRS[rng.integers(len(HAIRS) if tone < 4 else 2)]) * rng.uniform(0.85, 1.2)
    iris = np.array(IRISES[rng.integers(len(IRISES) if tone < 4 else 2)])
    redness = rng.uniform(0.35, 0.6) + (0.0 if male else 0.2)
    lip = skin * (1 - redness) + np.array((172, 74, 78)) * (0.55 + 0.45 * skin[0] / 255) * redness
    beard_style = BEARDS[beard_order[turn % len(BEARDS)]] if male else "none"
    resting = dict.fromkeys(ACTION_UNITS, 0.0)
    resting |= {int(unit): float(rng.uniform(0.06, 0.26)) for unit in rng.permutation(HABITS)[:4]}
    return Identity(
        number=number,
        subject=f"s{number:02d}",
        sex=sex,
        spectacles=bool(glasses_order[turn % 4] == (0 if male else 1)),
        beard=beard_style != "none",
        skin=rgb(skin),
        hair=rgb(hair),
        iris=rgb(iris),
        lip=rgb(lip),
        hair_style=(MALE_STYLES if male else FEMALE_STYLES)[style_order[turn % len(style_order)]],
        beard_style=beard_style,
        face=build("face"),
        eyes=(*build("eyes"), float(rng.uniform(-0.004, 0.012))),
        brows=(*build("brows"), float(rng.uniform(-0.012, 0.012))),
        nose=build("nose"),
        mouth=build("mouth"),
        age=float(rng.beta(1.6, 2.4)),
        resting=tuple(resting.values()),
        expressiveness=tuple(rng.uniform(0.8, 1.15, len(ACTION_UNITS)).tolist()),
    )
