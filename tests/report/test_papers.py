from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from fervid.corpora import find_corpora
from fervid.errors import InputError
from fervid.report.papers import MEASURES, STATIC_MEASURES, load_paper, paper_tables, recompute
from fervid.runs.run import Run
from fervid.schema.config_folder import CONFIG_FOLDER

PAPERS = ("enterface", "hf_faces", "ised", "ravdess", "ravdess_multimodal")
ISED = ["disgust", "happiness", "sadness", "surprise"]
ENTERFACE = ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
SGD_10 = {"backbone": "lenet", "optimizer": "sgd_plain", "dataset.batch_size": 10}


read_once = cache(load_paper)


def paper_of(name):
    return deepcopy(read_once(name))


def rows_of(paper, table):
    return {row["name"]: row for row in next(each for each in paper["tables"] if each["name"] == table)["rows"]}


def table_of(paper, name, runs=()):
    table = next(each for each in paper_tables(paper, runs) if each.title.startswith(f"{name}:"))
    return table, table.text().set_index(["", "measure"])


def nested(settings):
    config = {}
    for name, value in settings.items():
        *groups, last = name.split(".")
        node = config
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return config


def make_run(folder, paper="ised", settings=SGD_10, *, split="ised_counts", level="leaky", names=ISED, **results):
    """A finished run of a paper's preset; settings with a point are values, others options of groups."""
    groups = {name: value for name, value in settings.items() if "." not in name}
    values = {name: value for name, value in settings.items() if "." in name}
    config = {"paper": {"name": paper} if paper else None, "seed": str(folder), **nested(values)}
    metrics = {f"{side}/{name}": 0.5 for side in ("train", "val", "test") for name in ("accuracy", "uar", "f1")}
    content = {
        "choices": {"split": split, "paper": paper, **groups},
        "config": config,
        "task": "classification",
        "class_names": list(names),
        "leakage": {"level": level},
        "metrics": {
            **metrics,
            "train/loss": 0.25,
            "val/loss": 0.75,
            "test/loss": 1.25,
            "test/uar": 0.2,
            "test/f1": 0.1,
            **results.pop("metrics", {}),
        },
        "confusion": np.diag(range(1, len(names) + 1)).tolist(),
        "seconds": {"fit": 1234.4},
        "history": [{"seconds": 3.0}, {"seconds": 4.0}],
        "device": "cpu",
        "parameters": {"total": 61496},
        "overrides": [],
        "data": {
            "corpus": paper,
            "rendered": False,
            "emotion_by_split": {name: {"train": 161, "val": 99, "test": 98} for name in names},
        },
    }
    return Run(Path(folder), content | results)


class TestPrinted:
    """Every printed table, against numbers copied independently from the papers."""

    def test_all_papers_are_listed(self):
        assert tuple(sorted(path.stem for path in (Path(CONFIG_FOLDER) / "paper").glob("*.yaml"))) == PAPERS

    def test_unknown_name(self):
        with pytest.raises(InputError, match="paper=isde is unknown: choose enterface, hf_faces, ised, ravdess"):
            load_paper("isde")

    def test_printed_digits_are_preserved(self):
        assert str(rows_of(paper_of("ised"), "Table IV")["LeNet"]["printed"]["accuracy"]) == "7.00"
        assert str(rows_of(paper_of("hf_faces"), "Table 1")["VGG16"]["printed"]["loss"]) == "1.1800"

    @pytest.mark.parametrize(
        ("paper", "table", "row", "numbers"),
        [
            ("ised", "Table II", "Happiness", "519 344 120"),
            ("ised", "Table II", "Total", "1111 729 370"),
            ("ised", "Section III-C", "LeNet", "61496"),
            ("ised", "Section III-C", "AlexNet", "56377156"),
            ("ised", "Table IV", "LeNet", "7.00 1.78 607"),
            ("ised", "Table IV", "AlexNet", "93.00 0.24 4625"),
            ("ised", "Table V", "LeNet with SGD", "7.00 1.78 607"),
            ("ised", "Table V", "LeNet with RMSprop", "85.00 0.36 1238"),
            ("ised", "Table V", "LeNet with Adam", "84.00 0.50 1351"),
            ("ised", "Table V", "AlexNet with SGD", "93.00 0.24 4625"),
            ("ised", "Table V", "AlexNet with RMSprop", "12.00 9.68 5036"),
            ("ised", "Table V", "AlexNet with Adam", "6.00 2.38 4982"),
            ("ised", "Table VI", "LeNet with SGD", "7.00 95.00 68.00 6.00"),
            ("ised", "Table VI", "LeNet with RMSprop", "85.00 96.67 90.00 62.00"),
            ("ised", "Table VI", "LeNet with Adam", "84.00 95.00 93.00 90.00"),
            ("ised", "Table VI", "AlexNet with SGD", "93.00 99.17 93.00 78.00"),
            ("ised", "Table VI", "AlexNet with RMSprop", "12.00 98.33 88.00 52.00"),
            ("ised", "Table VI", "AlexNet with Adam", "6.00 95.83 67.00 8.00"),
            ("ised", "Table VII", "LeNet with batch size 10", "85.00 0.36 1238"),
            ("ised", "Table VII", "LeNet with batch size 100", "79.46 0.53 1025"),
            ("ised", "Table VII", "AlexNet with batch size 10", "93.00 0.24 4625"),
            ("ised", "Table VII", "AlexNet with batch size 100", "71.08 0.78 3767"),
            ("ised", "Table VIII", "LeNet with batch size 10", "85.00 96.67 90.00 62.00"),
            ("ised", "Table VIII", "LeNet with batch size 100", "47.00 97.50 84.00 30.00"),
            ("ised", "Table VIII", "AlexNet with batch size 10", "93.00 99.17 93.00 78.00"),
            ("ised", "Table VIII", "AlexNet with batch size 100", "62.00 30.00 78.00 80.00"),
            ("ised", "Table IX", "LeNet with RMSprop", "85.00"),
            ("ised", "Table IX", "AlexNet with SGD", "93.00"),
            ("ised", "Table IX", "LGBP features, PCA and LDA", "86.46"),
            ("enterface", "Table 1", "Happiness", "1922 241 240"),
            ("enterface", "Table 1", "Anger", "1896 237 237"),
            ("enterface", "Table 1", "Disgust", "1891 237 236"),
            ("enterface", "Figure 3", "100 px", "4813638"),
            ("enterface", "Figure 3", "50 px", "1274694"),
            ("enterface", "Figure 3", "20 px", "226118"),
            ("enterface", "Table 2", "100 px", "430 67"),
            ("enterface", "Table 2", "50 px", "137 50"),
            ("enterface", "Table 2", "20 px", "66 36"),
            ("enterface", "Section 2", "100 px", "96 90.75"),
            ("enterface", "Section 2", "50 px", "94 87"),
            ("enterface", "Section 2", "20 px", "78 72.39"),
            ("enterface", "Table 3", "50 px", "96 91 88 91 85 88 98 93 81 80 93 93"),
            ("enterface", "Table 4", "20 px", "98 71 74 68 61 72 83 77 54 70 79 73"),
            ("hf_faces", "Table 1", "EfficientNetB2", "1.5070 43.03"),
            ("hf_faces", "Table 1", "MobileNetV2", "1.4313 49.31"),
            ("hf_faces", "Table 1", "VGG16", "1.1800 59.20"),
            ("ravdess", "Table I", "VGG16", "0.1523 94.88 0.8108 78.12"),
        ],
    )
    def test_numbers(self, paper, table, row, numbers):
        row = rows_of(paper_of(paper), table)[row]
        parts = [row.get(kind, {}) for kind in ("precision", "recall", "printed")]
        assert " ".join(str(value) for part in parts for value in part.values()) == numbers

    def test_test_counts_match_the_tables(self):
        ised, enterface = paper_of("ised"), paper_of("enterface")
        assert list(ised["test_counts"].values()) == [100, 120, 100, 50]
        for paper, table in ((ised, "Table II"), (enterface, "Table 1")):
            rows = rows_of(paper, table).values()
            assert paper["test_counts"] == {
                row["emotion"]: row["printed"]["test_frames"] for row in rows if row["emotion"] != "total"
            }
        subsets = [row["printed"] for row in rows_of(enterface, "Table 1").values()]
        totals = {side: sum(row[side] for row in subsets) for side in subsets[0]}
        assert totals == {"train_frames": 11475, "test_frames": 1438, "val_frames": 1433}

    def test_count_splits_match_the_printed_frames(self):
        with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
            for name, table in (("ised", "Table II"), ("enterface", "Table 1")):
                split = compose("train", [f"split={name}_counts"]).split.counts
                for row in rows_of(paper_of(name), table).values():
                    if row["emotion"] != "total":
                        numbers = [row["printed"][f"{side}_frames"] for side in ("train", "val", "test")]
                        assert split[row["emotion"]] == numbers


@pytest.mark.parametrize("name", PAPERS)
class TestFiles:
    def test_schema(self, name):
        paper = paper_of(name)
        assert paper["name"] == name
        assert isinstance(paper["citation"], str)
        assert set(paper) <= {"name", "citation", "experiments", "test_counts", "test_frames", "tables", "remarks"}
        assert all(isinstance(remark, str) and remark.endswith(".") for remark in paper["remarks"])
        for table in paper["tables"]:
            assert set(table) == {"name", "title", "rows"}
            assert len(rows_of(paper, table["name"])) == len(table["rows"])
            for row in table["rows"]:
                assert set(row) <= {"name", "run", "printed", "recall", "precision", "emotion", "benchmark"}
                assert set(row.get("printed", {})) <= set(MEASURES)
                assert "printed" in row or "recall" in row
                assert ("emotion" in row) == any("frames" in measure for measure in row.get("printed", {}))

    def test_recalls_name_the_emotions(self, name):
        corpora = {"ised": ISED, "enterface": ENTERFACE}
        paper = paper_of(name)
        assert sorted(paper.get("test_counts", {})) == corpora.get(name, [])
        for table in paper["tables"]:
            for row in table["rows"]:
                for kind in ("recall", "precision"):
                    if kind in row:
                        assert sorted(row[kind]) == corpora[name]

    def test_runs_are_settings_of_the_presets(self, name):
        paper = paper_of(name)
        with initialize_config_dir(CONFIG_FOLDER, version_base="1.3"):
            for preset in paper["experiments"]:
                config = compose("train", [f"experiment={preset}"])
                assert config.paper.name == name
                assert OmegaConf.to_container(config.paper)["citation"] == paper["citation"]
            for table in paper["tables"]:
                for row in table["rows"]:
                    for key, value in row["run"].items():
                        if "." in key:
                            assert type(OmegaConf.select(config, key)) is type(value)
                        elif not row.get("benchmark"):
                            assert (Path(CONFIG_FOLDER) / key / f"{value}.yaml").exists()

    def test_benchmarks_match_by_the_corpus_of_that_name(self, name):
        rows = [row for table in paper_of(name)["tables"] for row in table["rows"]]
        names = {corpus.name for corpus in find_corpora().values()}
        assert name in names or not any(row.get("benchmark") for row in rows)


class TestRecompute:
    @pytest.mark.parametrize(
        ("table", "row", "accuracy", "uar"),
        [
            ("Table VI", "LeNet with SGD", 51.89, 44.00),
            ("Table VI", "LeNet with RMSprop", 87.03, 83.42),
            ("Table VI", "LeNet with Adam", 90.81, 90.50),
            ("Table VI", "AlexNet with SGD", 92.97, 90.79),
            ("Table VI", "AlexNet with RMSprop", 65.94, 62.58),
            ("Table VI", "AlexNet with Adam", 51.89, 44.21),
            ("Table VIII", "LeNet with batch size 100", 71.08, 64.625),
            ("Table VIII", "AlexNet with batch size 100", 58.38, 62.50),
        ],
    )
    def test_ised(self, table, row, accuracy, uar):
        paper = paper_of("ised")
        made = recompute(rows_of(paper, table)[row], paper["test_counts"])
        assert made == {"accuracy": pytest.approx(accuracy, abs=0.005), "uar": pytest.approx(uar, abs=0.005)}

    def test_changing_one_recall_gives_the_swapped_accuracy(self):
        paper = paper_of("ised")
        row = rows_of(paper, "Table VIII")["AlexNet with batch size 100"]
        mended = {"recall": {**row["recall"], "happiness": 95.00}}
        assert recompute(mended, paper["test_counts"])["accuracy"] == pytest.approx(79.46, abs=0.005)

    @pytest.mark.parametrize("seed", range(4))
    def test_agrees_with_scikit_learn(self, seed):
        rng = np.random.default_rng(seed)
        true = np.repeat(ISED, rng.integers(20, 90, 4))
        predicted = np.where(rng.random(len(true)) < 0.6, true, rng.choice(ISED, len(true)))
        recalls = 100 * recall_score(true, predicted, average=None, labels=ISED)
        precisions = 100 * precision_score(true, predicted, average=None, labels=ISED)
        row = {"recall": dict(zip(ISED, recalls, strict=True)), "precision": dict(zip(ISED, precisions, strict=True))}
        made = recompute(row, {name: int((true == name).sum()) for name in ISED})
        assert made == {
            "accuracy": pytest.approx(100 * accuracy_score(true, predicted)),
            "uar": pytest.approx(100 * recall_score(true, predicted, average="macro")),
            "f1": pytest.approx(100 * f1_score(true, predicted, average="macro")),
        }

    def test_printed_rows_agree_with_scikit_learn(self):
        """Each printed recall corresponds to a whole number of correct frames."""
        paper = paper_of("ised")
        counts = paper["test_counts"]
        for row in [*rows_of(paper, "Table VI").values(), *rows_of(paper, "Table VIII").values()]:
            right = {name: round(float(row["recall"][name]) * counts[name] / 100) for name in ISED}
            true = np.repeat(ISED, [counts[name] for name in ISED])
            predicted = np.concatenate(
                [[name] * right[name] + ["other"] * (counts[name] - right[name]) for name in ISED]
            )
            made = recompute(row, counts)
            assert made["accuracy"] == pytest.approx(100 * accuracy_score(true, predicted), abs=0.005)
            uar = recall_score(true, predicted, average="macro", labels=ISED)
            assert made["uar"] == pytest.approx(100 * uar, abs=0.005)

    def test_without_counts(self):
        assert recompute({"recall": {"sad": 50, "happy": 70}}, {}) == {"uar": 60}


class TestTables:
    def test_without_runs(self):
        paper = paper_of("ised")
        tables = paper_tables(paper, [])
        assert [table.title.split(":")[0] for table in tables] == [table["name"] for table in paper["tables"]]
        assert len({table.name for table in tables}) == len(tables)
        assert "No run reproduces this paper. Its presets are ised_lenet, ised_alexnet." in tables[0].notes
        table, text = table_of(paper, "Table V")
        assert table.name == "ised_table_v"
        assert list(text) == ["printed", "recomputed"]
        assert text.loc["LeNet with Adam"].to_numpy().tolist() == [["84.00", "90.81"], ["0.50", ""], ["1,351", ""]]

    def test_rows_by_emotion_include_recomputed_overall_scores(self):
        _, text = table_of(paper_of("enterface"), "Table 3")
        rows = text.loc["50 px"]
        assert rows.loc["precision of fear"].tolist() == ["88", ""]
        assert rows.loc["accuracy, %"].tolist() == ["", "89.63"]
        assert rows.loc["UAR, %"].tolist() == ["", "89.67"]
        assert rows.loc["macro F1, %"].tolist() == ["", "89.62"]

    def test_only_runs_with_matching_settings_are_shown(self):
        others = [
            make_run("a", settings={**SGD_10, "dataset.batch_size": 100}),
            make_run("b", settings={**SGD_10, "optimizer": "sgd"}),
            make_run("c", settings={**SGD_10, "backbone": "alexnet"}),
            make_run("d", paper=None, data={"corpus": "ised"}),
            make_run("e", paper="ravdess"),
        ]
        paper = paper_of("ised")
        for run in others:
            assert list(table_of(paper, "Table IV", [run])[1]) == ["printed", "recomputed"]
        _, text = table_of(paper, "Table IV", [*others, make_run("f", metrics={"test/accuracy": 0.625})])
        column = text["reproduced (ised_counts, leaky)"]
        assert column["LeNet"].tolist() == ["62.50", "1.2500", "1,234"]
        assert column["AlexNet"].tolist() == ["", "", ""]

    def test_runs_of_another_paper_are_not_shown(self):
        run = make_run("a", settings={"backbone": "vgg16"}, paper="ravdess")
        for name in ("ised", "enterface", "hf_faces"):
            assert not any(
                "reproduced" in column for table in paper_tables(paper_of(name), [run]) for column in table.data
            )
        assert "reproduced (ised_counts, leaky)" in paper_tables(paper_of("ravdess"), [run])[0].data

    def test_each_split_has_a_column(self):
        runs = [
            make_run("a", split="subject", level="subject-independent", metrics={"test/accuracy": 0.3}),
            make_run("b", metrics={"test/accuracy": 0.9}),
            make_run("c", split="clips", level="subject-dependent", metrics={"test/accuracy": 0.6}),
        ]
        _, text = table_of(paper_of("ised"), "Table IV", runs)
        assert text.loc[("LeNet", "accuracy, %")].to_dict() == {
            "printed": "7.00",
            "recomputed": "51.89",
            "reproduced (ised_counts, leaky)": "90.00",
            "reproduced (clips, subject-dependent)": "60.00",
            "reproduced (subject, subject-independent)": "30.00",
        }
        assert list(text)[2] == "reproduced (ised_counts, leaky)"

    def test_several_runs_show_mean_and_deviation(self):
        runs = [
            make_run(name, metrics={"test/accuracy": value}) for name, value in zip("abc", (0.4, 0.5, 0.9), strict=True)
        ]
        table, text = table_of(paper_of("ised"), "Table IV", runs)
        shown = text["reproduced (ised_counts, leaky)"]["LeNet"]
        assert shown["accuracy, %"] == f"60.00 ± {np.std([40, 50, 90], ddof=1):.2f} (3)" == "60.00 ± 26.46 (3)"
        assert shown["training, s"] == "1,234"
        assert "Mean ± standard deviation (number of runs)." in table.notes
        assert not table_of(paper_of("ised"), "Table IV", runs[:1])[0].notes

    def test_duplicates_count_once(self):
        runs = [make_run("a"), make_run("a")]
        runs[1] = Run(Path("b"), {**runs[1].results, "metrics": {"test/accuracy": 0.75}})
        _, text = table_of(paper_of("ised"), "Table IV", runs)
        assert text["reproduced (ised_counts, leaky)"]["LeNet"].tolist() == ["75.00", "", "1,234"]

    def test_notes_list_settings_that_differ_from_the_preset(self):
        words = ["experiment=ised_lenet", "dataset.root=/home/ann/ISED", "split=ised_counts", "split.seed=3", "seed=1"]
        words += ["optimizer=sgd_plain", "cache_dir=/tmp/c", "hydra.run.dir=/tmp/x", "sweep=ised_optimizers"]
        runs = [
            make_run("a", overrides=words),
            make_run("b", overrides=[*words, "trainer.max_epochs=2", "+backbone.weights=/home/ann/mine.pt"]),
        ]
        paper = paper_of("ised")
        assert not any("ann" in note for table in paper_tables(paper, runs) for note in table.notes)
        note = "reproduced (ised_counts, leaky) with trainer.max_epochs=2, backbone.weights=mine.pt: LeNet (1 of 2)."
        assert note in table_of(paper, "Table IV", runs)[0].notes
        assert note.replace(" (1 of 2)", "") in table_of(paper, "Table IV", runs[1:])[0].notes
        assert not table_of(paper, "Table IV", runs[:1])[0].notes
        assert not table_of(paper, "Section III-C", runs)[0].notes

    def test_notes_name_rendered_subjects(self):
        run = make_run("a")
        run.results["data"]["rendered"] = True
        for name in ("Table IV", "Section III-C"):
            notes = table_of(paper_of("ised"), name, [run])[0].notes
            assert notes == ["reproduced (ised_counts, leaky) with rendered subjects: LeNet."]

    def test_benchmark_rows_match_runs_on_the_corpus(self):
        settings, data = {"backbone": "lgbp"}, {"corpus": "ised"}
        run = make_run("a", paper=None, settings=settings, data=data, metrics={"test/accuracy": 0.7})
        shown = table_of(paper_of("ised"), "Table IX", [run])[1]["reproduced (ised_counts, leaky)"]
        assert shown["LGBP features, PCA and LDA"].tolist() == ["70.00"]
        elsewhere = make_run("a", paper=None, settings=settings, data={"corpus": "ravdess"})
        assert list(table_of(paper_of("ised"), "Table IX", [elsewhere])[1]) == ["printed", "recomputed"]

    def test_recall_and_precision(self):
        confusion = [[3, 1, 0, 0], [1, 4, 0, 0], [0, 0, 0, 2], [0, 0, 0, 0]]
        _, text = table_of(paper_of("ised"), "Table VI", [make_run("a", confusion=confusion)])
        shown = text["reproduced (ised_counts, leaky)"]["LeNet with SGD"]
        assert shown.tolist() == ["75.00", "80.00", "0.00", "", "50.00", "20.00"]
        confusion = np.diag([1, 2, 3, 4, 5, 0])
        confusion[0, 1] = 6
        run = make_run(
            "b",
            "enterface",
            {"backbone": "cnn", "backbone.image_size": 50},
            names=ENTERFACE,
            confusion=confusion.tolist(),
        )
        shown = table_of(paper_of("enterface"), "Table 3", [run])[1]["reproduced (ised_counts, leaky)"]["50 px"]
        assert shown["precision of disgust"] == "25.00"
        assert shown["precision of surprise"] == ""
        assert shown["recall of anger"] == "14.29"
        assert shown["macro F1, %"] == "10.00"

    def test_emotions_missing_in_a_run_are_empty(self):
        run = make_run("a", names=["happiness", "joy"])
        shown = table_of(paper_of("ised"), "Table VI", [run])[1]["reproduced (ised_counts, leaky)"]["LeNet with SGD"]
        assert shown.tolist() == ["", "100.00", "", "", "50.00", "20.00"]

    @pytest.mark.parametrize(("device", "shown"), [("cpu", ["3.5", ""]), ("NVIDIA H200", ["", "3.5"])])
    def test_seconds_per_epoch(self, device, shown):
        run = make_run("a", "enterface", {"backbone": "cnn", "backbone.image_size": 20}, device=device)
        _, text = table_of(paper_of("enterface"), "Table 2", [run])
        assert text["reproduced (ised_counts, leaky)"]["20 px"].tolist() == shown

    def test_frames_parameters_and_validation(self):
        _, text = table_of(paper_of("ised"), "Table II", [make_run("a"), make_run("b")])
        shown = text["reproduced (ised_counts, leaky)"]
        assert shown["Disgust"].tolist() == ["161", "99", "98"]
        assert shown["Total"].tolist() == ["", "", ""]
        _, text = table_of(paper_of("ised"), "Section III-C", [make_run("a")])
        assert text.loc[("LeNet", "parameters")].tolist() == ["61,496", "61,496"]
        _, text = table_of(paper_of("ravdess"), "Table I", [make_run("a", "ravdess", {"backbone": "vgg16"})])
        assert text["reproduced (ised_counts, leaky)"]["VGG16"].tolist() == ["0.2500", "50.00", "0.7500", "50.00"]

    def test_static_measures_are_measures(self):
        assert set(MEASURES) >= STATIC_MEASURES
