"""The stored remarks on the papers agree with the numbers that the papers print."""

from decimal import Decimal

import pytest

from fervid.report.papers import load_paper, recompute


def rows_of(paper, table):
    return {row["name"]: row for row in next(each for each in paper["tables"] if each["name"] == table)["rows"]}


def rounding_error(printed):
    """Largest rounding error of a number with this many printed digits."""
    return 0.5 * 10.0 ** Decimal(str(printed)).as_tuple().exponent


def has_accuracy(row):
    return "accuracy" in row.get("printed", {}) and not row.get("benchmark")


@pytest.mark.parametrize(("name", "differing"), [("ised", 8), ("enterface", 1)])
def test_remarks_list_each_accuracy_that_differs_from_its_recalls(name, differing):
    paper = load_paper(name)
    rows = [row for table in paper["tables"] for row in table["rows"]]
    runs = []
    for row in rows:
        same = [each["printed"]["accuracy"] for each in rows if each["run"] == row["run"] and has_accuracy(each)]
        if "recall" not in row or row["run"] in runs or not same:
            continue
        accuracy = recompute(row, paper["test_counts"])["accuracy"]
        rounding = rounding_error(same[0]) + max(map(rounding_error, row["recall"].values()))
        if abs(accuracy - float(same[0])) > rounding:
            runs.append(row["run"])
            texts = (row["name"], str(same[0]), f"{accuracy:.2f}")
            assert any(all(text in remark for text in texts) for remark in paper["remarks"]), texts
    assert len(runs) == differing


def test_first_remark_pairs_accuracies_with_the_recall_of_disgust():
    paper = load_paper("ised")
    for name, row in rows_of(paper, "Table VI").items():
        assert f"{name} {row['recall']['disgust']} -> " in paper["remarks"][0]


def test_remarks_list_exactly_the_impossible_accuracies():
    for name in ("enterface", "hf_faces", "ised", "ravdess"):
        paper = load_paper(name)
        frames = paper.get("test_frames") or sum(paper.get("test_counts", {}).values())
        rows = [row for table in paper["tables"] for row in table["rows"]]
        for value in {row["printed"]["accuracy"] for row in rows if has_accuracy(row)}:
            nearest = 100 * round(float(value) * frames / 100) / frames
            impossible = abs(nearest - float(value)) > rounding_error(value) + 1e-9
            named = [each for each in paper["remarks"] if "no whole number" in each and str(value) in each]
            assert bool(named) == impossible, (name, value)


def test_remarks_name_the_best_lenet():
    paper = load_paper("ised")
    lenets = [row for name, row in rows_of(paper, "Table VI").items() if name.startswith("LeNet")]
    best = max(lenets, key=lambda row: recompute(row, paper["test_counts"])["accuracy"])
    assert best["name"] == "LeNet with Adam"
    assert any("put LeNet with Adam first" in each for each in paper["remarks"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("enterface", "88%"),
        ("enterface", "happiness 0.96"),
        ("enterface", "4718848"),
        ("enterface", "42 subjects"),
        ("ravdess", "validation accuracy"),
        ("ravdess", "sung"),
        ("ised", "56337156"),
        ("ised", "95.00 instead of 30.00"),
    ],
)
def test_known_misprints_are_in_the_remarks(name, words):
    assert any(words in each for each in load_paper(name)["remarks"])
