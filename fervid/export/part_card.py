"""What the model card and the metadata say about valence and arousal, action units, and several targets at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fervid.metrics.parts import MEASURES, PART_TITLES, SCORE_TITLES, bootstrap_part, main_score, part_scores
from fervid.metrics.statistics import bootstrap_unit
from fervid.runs.run import Run
from fervid.schema.parts import AFFECT, EMOTION, PRESENT, UNITS, Part

RESAMPLES = 2000  # bootstrap resamples
LIMITS = {
    EMOTION: "It assigns one of the expressions to every face, even if the face shows none of them.",
    AFFECT: "Valence and arousal are those that people see in a face, and people disagree about them.",
    UNITS: f"An action unit counts as present from a probability of {PRESENT}, which is not chosen for each unit.",
}


class PartCard(NamedTuple):
    """A target on the model card: title, name and description of its output, and rows of scores with 95% intervals."""

    title: str
    output: str
    words: str
    scores: list[tuple[str, str]]


def output_words(part: Part) -> str:
    """Describes the exported output of a part.

    Examples:
        >>> output_words(Part("action_units", ("au_6", "au_12")))
        'float32 (B, 2): probabilities that the action units AU6, AU12 are present; 0.5 or more is present'
    """
    names, shape = ", ".join(part.titles), f"float32 (B, {len(part.names)})"
    if part.name == EMOTION:
        return f"{shape}: probabilities of the emotions {names}"
    if part.name == AFFECT:
        return f"{shape}: valence from -1 (unpleasant) to 1 (pleasant) and arousal from -1 (calm) to 1 (excited)"
    return f"{shape}: probabilities that the action units {names} are present; {PRESENT} or more is present"


def part_cards(run: Run) -> list[PartCard]:
    """Returns the targets of a run; those other than the emotion with their scores on the test subset.

    Args:
        run: a run of a task other than classification.
    """
    return [
        PartCard(
            PART_TITLES[part.name],
            part.name,
            output_words(part),
            [] if part.name == EMOTION else _scores(run, part),
        )
        for part in run.parts
    ]


def headline(run: Run) -> str:
    """Returns the main score of a run, such as ``test CCC 0.71``."""
    name = main_score(run.parts)
    return f"test {SCORE_TITLES[name]} {_text(name, run.metric(f'test/{name}'))}"


def limits(parts: Sequence[Part]) -> str:
    """Returns sentences on what the targets do not say."""
    return " ".join(LIMITS[part.name] for part in parts)


def _scores(run: Run, part: Part) -> list[tuple[str, str]]:
    table, measure = run.predictions, MEASURES[part.name]
    values = part_scores(table, part)
    drawn = bootstrap_part(table.assign(run=0), part, bootstrap_unit(table), resamples=RESAMPLES, seed=0)
    titles = dict(measure.shown)
    if part.name == UNITS:
        titles |= {f"F1 of {title}": f"f1_{name}" for title, name in zip(part.titles, part.names, strict=True)}
    rows = []
    for title, name in titles.items():
        text, known = _text(name, values[name]), drawn[name][np.isfinite(drawn[name])]
        if np.isfinite(values[name]) and len(known):
            low, high = (_text(name, float(value)) for value in np.quantile(known, [0.025, 0.975]))
            text += f" ({low} to {high})"
        rows.append((title, text))
    return rows


def _text(name: str, value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.1%}" if name.startswith(("uar", "f1_", "balanced")) else f"{value:.3f}"
