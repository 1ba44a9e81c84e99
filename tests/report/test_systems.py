import pytest

from fervid.report.systems import comparable, find_systems, say, why_not


@pytest.fixture
def small(a_run):
    """A run of few rows."""

    def make(name, settings=None, **options):
        return a_run(name, settings, **{"people": range(3), "clips": 1, "frames": 1, **options})

    return make


def told(systems):
    return {system.name: [run.folder.name for run in system.runs] for system in systems}


class TestFinding:
    def test_one_option_is_varied(self, small):
        runs = [small(name, {"backbone": name}) for name in ("vgg16", "lenet", "cnn")]
        systems, along, doubles = find_systems(runs)
        assert told(systems) == {"vgg16": ["vgg16"], "lenet": ["lenet"], "cnn": ["cnn"]}
        assert [system.settings for system in systems] == [{"backbone": name} for name in ("vgg16", "lenet", "cnn")]
        assert (along, doubles) == ([], [])

    def test_an_option_and_a_value(self, small):
        runs = [
            small(f"{backbone} {rate}", {"backbone": backbone, "optimizer.lr": rate})
            for backbone in ("vgg16", "lenet")
            for rate in (0.1, 0.01)
        ]
        systems, along, _ = find_systems(runs)
        assert list(told(systems)) == ["vgg16, lr=0.1", "vgg16, lr=0.01", "lenet, lr=0.1", "lenet, lr=0.01"]
        assert systems[1].settings == {"backbone": "vgg16", "optimizer.lr": "0.01"}
        assert along == []

    def test_what_changes_along_is_not_repeated(self, small):
        chosen = (("sgd", 0.1, "step"), ("adam", 0.001, "none"), ("rmsprop", 0.001, "step"))
        runs = [
            small(name, {"optimizer": name, "optimizer.lr": rate, "scheduler": other}) for name, rate, other in chosen
        ]
        systems, along, _ = find_systems(runs)
        assert list(told(systems)) == ["sgd", "adam", "rmsprop"]
        assert along == ["scheduler"]  # a rate that goes with the optimizer goes without saying

    def test_what_is_needed_in_part_is_named(self, small):
        # The rate parts two runs that the option does not.
        runs = [
            small(str(n), {"optimizer": o, "optimizer.lr": r}) for n, (o, r) in enumerate([("sgd", 1), ("adam", 1)])
        ]
        runs.append(small("2", {"optimizer": "adam", "optimizer.lr": 0.5}))
        systems, along, _ = find_systems(runs)
        assert list(told(systems)) == ["sgd", "adam, lr=1", "adam, lr=0.5"]
        assert along == []

    def test_phases_are_told_one_by_one(self, small):
        phases = [[{"name": "frozen", "epochs": 10}, {"name": "tune", "lr_factor": scale}] for scale in (0.1, 1.0)]
        systems, along, _ = find_systems([small(str(n), {"finetune.phases": each}) for n, each in enumerate(phases)])
        assert list(told(systems)) == ["phases.1.lr_factor=0.1", "phases.1.lr_factor=1"]
        assert along == []

    def test_names_that_would_be_the_same_are_told_in_full(self, small):
        values = [(0.1, 0.2), (0.2, 0.1), (0.2, 0.2)]
        runs = [small(str(n), {"head.dropout": a, "backbone.dropout": b}) for n, (a, b) in enumerate(values)]
        assert next(iter(told(find_systems(runs)[0]))) == "dropout=0.2, dropout=0.1"
        close = [small(f"close {n}", {"optimizer.lr": rate}) for n, rate in enumerate((0.00123451, 0.00123452))]
        assert list(told(find_systems(close)[0])) == ["optimizer.lr=0.00123451", "optimizer.lr=0.00123452"]

    def test_a_value_that_goes_with_the_options_before_it_is_not_told(self, small):
        chosen = (("lenet", 28), ("cnn", 50), ("cnn", 100))
        runs = [small(str(n), {"backbone": name, "backbone.image_size": size}) for n, (name, size) in enumerate(chosen)]
        assert list(told(find_systems(runs)[0])) == ["lenet", "cnn, image_size=50", "cnn, image_size=100"]

    def test_seeds_and_folds_are_repeats(self, small):
        runs = [
            small(f"{name} {seed} {fold}", {"backbone": name, "dataset.seed": seed}, seed=seed, fold=fold)
            for name in ("vgg16", "lenet")
            for seed in (0, 1)
            for fold in (0, 1, 2)
        ]
        systems, along, doubles = find_systems(runs)
        assert [(system.name, len(system.runs)) for system in systems] == [("vgg16", 6), ("lenet", 6)]
        assert (along, doubles) == ([], [])

    def test_a_seed_of_the_corpus_faces_is_none(self, small):
        systems, _, _ = find_systems([small(str(seed), {"dataset.render_seed": seed}) for seed in (0, 1)])
        assert list(told(systems)) == ["render_seed=0", "render_seed=1"]

    def test_the_last_of_two_alike_is_kept(self, small):
        runs = [small("first"), small("other", seed=1), small("second"), small("third")]
        systems, _, doubles = find_systems(runs)
        assert told(systems) == {"lenet": ["third", "other"]}
        assert [run.folder.name for run in doubles] == ["first", "second"]

    def test_older_runs_of_the_same_system_do_not_part(self, small):
        older = small("older", {"optimizer.lr": 0.1, "augmentation.transforms": []}, seed=0)
        newer = small("newer", {"optimizer.lr": 0.1, "optimizer.fused": True, "optimizer.foreach": None}, seed=1)
        systems, along, doubles = find_systems([older, newer])
        assert (len(systems), along, doubles) == (1, [], [])

    @pytest.mark.parametrize(
        "name", ["dataset.root", "dataset.num_workers", "cache_dir", "ckpt_path", "logger.save_dir", "paper.name"]
    )
    def test_places_and_workers_do_not_part(self, small, name):
        systems, along, doubles = find_systems([small(str(value), {name: value}) for value in ("a", "b")])
        assert len(systems) == 1
        assert along == []
        assert len(doubles) == 1

    def test_a_baseline_beside_networks(self, small):
        runs = [small(name, {"backbone": name}) for name in ("vgg16", "lenet")]
        systems, along, _ = find_systems([*runs, small("lgbp", {"backbone": "lgbp", "pca": 0.95}, trained=False)])
        assert list(told(systems)) == ["vgg16", "lenet", "lgbp"]
        assert set(along) == {*("head", "finetune", "optimizer", "scheduler", "trainer", "pca")}

    def test_one_run_is_named_after_its_network(self, small):
        systems, along, doubles = find_systems([small("run", {"backbone": "vgg16"})])
        assert told(systems) == {"vgg16": ["run"]}
        assert (systems[0].settings, along, doubles) == ({}, [], [])

    def test_an_option_that_one_does_not_have(self, small):
        systems, _, _ = find_systems([small("a"), small("b", {"experiment": "smoke"})])
        assert list(told(systems)) == ["lenet", "smoke"]

    def test_a_moved_corpus_makes_a_double_and_another_corpus_another_system(self, small):
        places = {"a": "/data", "b": "/moved", "c": "/other"}
        runs = [small(name, {"dataset.root": root}) for name, root in places.items()]
        for run, content in zip(runs, ("one", "one", "two"), strict=True):
            run.results["data"]["fingerprint"] = content
        assert find_systems(runs[:2])[2] == runs[:1]
        systems, _, doubles = find_systems(runs)
        assert told(systems) == {"root=/data": ["b"], "root=/other": ["c"]}
        assert doubles == runs[:1]
        runs[2].results["config"]["dataset"]["root"] = "/data"  # whose content was another one then
        systems, _, doubles = find_systems([runs[0], runs[2]])
        assert told(systems) == {"data=one": ["a"], "data=two": ["c"]}
        assert doubles == []

    def test_mixed_levels_are_both_told(self, small):
        runs = [small("a", seed=0, level="leaky"), small("b", seed=1), small("c", seed=2, level="leaky")]
        (system,), _, _ = find_systems(runs)
        assert system.level == "leaky, subject-independent"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"backbone": "vgg16", "head": "-", "optimizer.lr": "0.001"}, "vgg16, lr=0.001"),
        ({"optimizer.lr": "0.012345678", "optimizer.weight_decay": "1e-05"}, "lr=0.01235, weight_decay=1e-05"),
        ({"dataset.max_frames": "12345", "seeds": "100000"}, "max_frames=12345, seeds=100000"),
        ({"backbone.pretrained": "true", "task.loss.class_weights": "none"}, "pretrained=true, class_weights=none"),
        ({"head.hidden": "[4096, 4096]"}, "hidden=[4096, 4096]"),
        ({"dataset.names": "x" * 61}, f"names={'x' * 57}..."),
        ({}, ""),
    ],
)
def test_names_are_readable(settings, line):
    assert say(settings) == line


class TestComparing:
    def test_the_same_rows_and_emotions(self, small):
        runs = [small(f"{n} {seed}", {"backbone": n}, seed=seed) for n in ("a", "b", "c") for seed in (0, 1)]
        other = small("d", {"backbone": "d"}, people=range(1, 4))
        systems, _, _ = find_systems([*runs, other])
        assert [[system.name for system in each] for each in comparable(systems)] == [["a", "b", "c"], ["d"]]

    def test_other_networks_in_another_order_of_frames(self, small):
        shuffled = small("b", {"backbone": "b"}, edit=lambda table: table.sample(frac=1, random_state=0))
        systems, _, _ = find_systems([small("a"), shuffled])
        assert len(comparable(systems)) == 1

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"class_names": ["happy", "angry", "calm"]}, "other emotions: calm, sad only in one of the two"),
            ({"class_names": ["sad", "angry", "happy"]}, "the same emotions in another order"),
            ({"people": range(1, 5)}, "other test rows: 9 and 12 clips, 6 of them in both"),
            ({"people": range(7, 9)}, "other test rows: 9 and 6 clips, 0 of them in both"),
            ({"frames": 2}, "other test rows: other frames of the same 9 clips"),
        ],
    )
    def test_what_does_not_compare(self, small, options, reason):
        systems, _, _ = find_systems([small("a"), small("b", {"backbone": "b"}, **options)])
        assert [len(each) for each in comparable(systems)] == [1, 1]
        assert why_not(*systems) == reason

    def test_the_same_frames_labelled_otherwise(self, small):
        def turn(table):
            return table.assign(label=["sad", *table["label"][1:]])

        systems, _, _ = find_systems([small("a"), small("b", {"backbone": "b"}, edit=turn)])
        assert len(comparable(systems)) == 2
        assert why_not(*systems) == "other test rows: other labels of the same 9 clips"

    def test_the_same_people_in_other_folds(self, small):
        folds = {"loso": [[0], [1], [2], [3]], "subject_kfold": [[0, 1], [2, 3]]}
        runs = [
            small(f"{split} {fold}", split=split, fold=fold, people=people)
            for split, parts in folds.items()
            for fold, people in enumerate(parts)
        ]
        systems, _, _ = find_systems(runs)
        assert len(comparable(systems)) == 2
        assert why_not(*systems) == "other test rows: the same 12 clips, in other folds"

    def test_folds_in_part(self, small):
        people = [range(0, 3), range(3, 6), range(6, 9)]
        runs = [small(f"a {fold}", {"backbone": "a"}, fold=fold, people=people[fold]) for fold in (0, 1, 2)]
        runs += [small(f"b {fold}", {"backbone": "b"}, fold=fold, people=people[fold]) for fold in (1, 2)]
        systems, _, _ = find_systems(runs)
        assert len(comparable(systems)) == 2
        assert why_not(*systems).startswith(
            "other test rows: 3 and 2 folds or seeds, 2 of them tested on the same; run those that are missing"
        )


class TestRows:
    def test_a_statement_a_clip_over_repeats(self, small):
        runs = [small(str(seed), seed=seed, frames=2) for seed in (0, 1, 2)]
        (system,), _, _ = find_systems(runs)
        assert len(system.frames) == 3 * 18
        assert system.frames["run"].value_counts().to_dict() == {0: 18, 1: 18, 2: 18}
        assert len(system.clips) == 9
        first = system.clips.iloc[0]
        same = system.frames[system.frames["clip"] == first["clip"]]
        assert len(same) == 6
        assert first["prob_sad"] == pytest.approx(same["prob_sad"].mean())

    @pytest.mark.parametrize(("known", "unit"), [(True, "subject"), (False, "clip")])
    def test_who_is_drawn_anew(self, small, known, unit):
        assert find_systems([small("a", known=known)])[0][0].unit == unit

    def test_one_unknown_person_is_enough(self, small):
        run = small("a", edit=lambda table: table.assign(subject=table["subject"].where(table.index > 2)))
        assert find_systems([run])[0][0].unit == "clip"
