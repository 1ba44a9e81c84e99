"""Published results are shown beside systems of the same protocol only."""

import pytest

from fervid.report.references import MEASURES, read_references, reference_table
from fervid.report.systems import find_systems

EIGHT = ("angry", "calm", "disgust", "fearful", "happy", "neutral", "sad", "surprised")


@pytest.fixture
def systems(a_run):
    """The five published folds of RAVDESS with its eight emotions, sound only, as rewritten by the keywords."""

    def make(folds=5, classes=EIGHT, corpus="ravdess", modalities=("sound",), **settings):
        runs = []
        for fold in range(folds):
            run = a_run(
                f"fold_{fold}",
                {"split.folds": "ravdess_5", **settings}, fold=fold, split="published_folds", class_names=classes,
                subjects=[fold],
            )  # fmt: skip
            run.results["data"] |= {"corpus": corpus, "rendered": False}
            run.results["config"]["sample"]["modalities"] = list(modalities)
            runs.append(run)
        return find_systems(runs)[0]

    return make


def test_all_runs_of_a_protocol_are_compared_with_its_published_results(systems):
    found = systems()
    table = reference_table(found)
    assert table.data["source"].tolist() == ["Luna-Jimenez et al. 2021"] * 2 + ["this report"]
    assert table.data["WAR"].tolist()[:2] == pytest.approx([0.5653, 0.8182])
    assert table.data["WAR"].iloc[2] == found[0].mean_metric("test/accuracy")
    assert "UAR" not in table.data
    assert set(table.data["protocol"]) == {
        "ravdess, sound, 8 emotions, split=published_folds, split.folds=ravdess_5, 5 runs"
    }
    assert table.data["remark"].iloc[1] == "The epoch was chosen on the test subjects."


def test_frames_of_videos_are_compared_by_clip(systems):
    found = systems(6, modalities=("image",), **{"split.folds": "ravdess_6"})
    table = reference_table(found)
    assert table.data["source"].iloc[-1] == "this report"
    assert table.data["UAR"].iloc[-1] == found[0].mean_metric("test/clip_uar") != found[0].mean_metric("test/uar")
    for run in found[0].runs:
        run.results["evaluated"] = "a run"
    assert reference_table(found) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"folds": 4},
        {"classes": EIGHT[:6]},
        {"corpus": "ravdess+crema_d"},
        {"modalities": ("image", "sound", "features")},
        {"split.folds": "enterface_5"},
    ],
)
def test_other_protocols_are_not_compared(systems, changed):
    assert reference_table(systems(**changed)) is None


def test_the_references_are_complete():
    for reference in read_references():
        assert set(reference) == {"corpus", "modalities", "classes", "level", "protocol", "results"}
        for result in reference["results"]:
            assert set(result) - {"remark"} == {"system", "citation", "measure", "percent", "certainty"}
            assert result["measure"] in MEASURES
            assert result["certainty"] in ("checked", "second-hand")
            assert 0 < result["percent"] < 100
