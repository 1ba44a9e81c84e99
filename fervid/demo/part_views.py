"""What the page of the demo shows of valence and arousal and of action units, as HTML and plain values."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fervid.metrics.parts import PART_TITLES, SCORE_TITLES, main_score
from fervid.runs.run import Run
from fervid.schema.parts import AFFECT, EMOTION, PRESENT, Part

NO_HEAT_MAPS = "Heat maps are shown only for runs that classify emotions and predict nothing else."
BAR = "<div style='position:absolute;top:0;bottom:0;left:{:.1f}%;width:{:.1f}%;background:{}'></div>"
ROW = (
    "<tr><td style='padding-right:.8em'>{}</td><td style='width:60%'><div style='position:relative;height:.9em;"
    "background:rgba(128,128,128,.2)'>{}</div></td><td style='text-align:right;padding-left:.8em'>{}</td></tr>"
)
BLUE, GRAY = "#0072b2", "#9a9a9a"


def part_bars(others: Mapping[Part, np.ndarray]) -> str:
    """Returns bars in HTML: of valence and arousal around zero, and of action units, which are blue if present.

    Args:
        others: the values of the parts other than the emotion; the text is empty if there are none.
    """
    rows = []
    for part, values in others.items():
        for title, value in zip(part.titles, values.tolist(), strict=True):
            if part.name == AFFECT:
                bar = BAR.format(50 + 50 * min(value, 0.0), 50 * abs(value), BLUE)
                rows.append(ROW.format(title, bar, f"{value:+.2f}"))
            else:
                bar = BAR.format(0, 100 * value, BLUE if value >= PRESENT else GRAY)
                rows.append(ROW.format(title, bar, f"{value:.0%}"))
    return f"<table style='width:100%;font-size:.85em'>{''.join(rows)}</table>" if rows else ""


def mean_values(table: pd.DataFrame, parts: Sequence[Part]) -> dict[str, str]:
    """Returns the mean valence and arousal, and the action units that are mostly present, by their headings.

    Args:
        table: the rows of one person in a table of faces.
        parts: what the run predicts.
    """
    found = {}
    for part in parts:
        means = zip(part.titles, table[part.predictions].mean() if part.name != EMOTION else (), strict=False)
        if part.name == AFFECT:
            found["Mean valence and arousal"] = ", ".join(f"{name} {mean:+.2f}" for name, mean in means)
        elif part.name != EMOTION:
            found["Action units"] = ", ".join(f"{name} {mean:.0%}" for name, mean in means if mean >= PRESENT) or "none"
    return found


def score_sentence(run: Run) -> str:
    """Returns a sentence with the main score of a run of a task other than classification."""
    name = main_score(run.parts)
    targets = " and ".join(PART_TITLES[part.name].lower() for part in run.parts)
    score = run.metric(f"test/{name}")
    return f"It predicts {targets} (test {SCORE_TITLES[name]}: {score:.2f}; 1 is perfect)."
