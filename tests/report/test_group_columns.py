import numpy as np

from fervid.report.group_tables import group_table
from fervid.report.systems import find_systems
from fervid.report.tidy import tidy


def test_bookkeeping_columns_are_not_groups(a_run):
    """Rendered corpora number subjects and takes; prepared corpora record how each crop was aligned."""
    odd = {"identity": [1, 2, 3], "take": [0, 1, 2], "aligned": ["eyes", "box"], "flat": ["black", "white"]}
    run = a_run(
        "run", edit=lambda table: table.assign(**{name: np.resize(values, len(table)) for name, values in odd.items()})
    )
    systems = find_systems([run])[0]
    assert set(group_table(systems).data["by"]) == {"sex", "intensity", "spectacles"}
    assert not set(odd) & set(tidy(systems)["by"])
