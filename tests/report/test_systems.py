import pytest

from fervid.report.systems import comparable, describe_settings, find_systems, reason_not_comparable


@pytest.fixture
def small(a_run):
    """A run with few rows."""

    def make(name, settings=None, **options):
        return a_run(name, settings, **{"subjects": range(3), "clips": 1, "frames": 1, **options})

    return make


def names_and_runs(systems):
    return {system.name: [run.folder.name for run in system.runs] for system in systems}


class TestFinding:
    def test_one_option_is_varied(self, small):
        runs = [small(name, {"backbone": name}) for name in ("vgg16", "lenet", "cnn")]
        systems, accompanying, duplicates = find_systems(runs)
        assert names_and_runs(systems) == {"vgg16": ["vgg16"], "lenet": ["lenet"], "cnn": ["cnn"]}
        assert [system.settings for system in systems] == [{"backbone": name} for name in ("vgg16", "lenet", "cnn")]
        assert (accompanying, duplicates) == ([], [])

    def test_an_option_and_a_value(self, small):
        runs = [
            small(f"{backbone} {rate}", {"backbone": backbone, "optimizer.lr": rate})
            for backbone in ("vgg16", "lenet")
            for rate in (0.1, 0.01)
        ]
        systems, accompanying, _ = find_systems(runs)
        assert list(names_and_runs(systems)) == ["vgg16, lr=0.1", "vgg16, lr=0.01", "lenet, lr=0.1", "lenet, lr=0.01"]
        assert systems[1].settings == {"backbone": "vgg16", "optimizer.lr": "0.01"}
        assert accompanying == []

    def test_settings_that_follow_from_an_option_are_omitted(self, small):
        chosen = (("sgd", 0.1, "step"), ("adam", 0.001, "none"), ("rmsprop", 0.001, "step"))
        runs = [
            small(name, {"optimizer": name, "optimizer.lr": rate, "scheduler": other}) for name, rate, other in chosen
        ]
        systems, accompanying, _ = find_systems(runs)
        assert list(names_and_runs(systems)) == ["sgd", "adam", "rmsprop"]
        assert accompanying == ["scheduler"]  # the learning rate follows from the optimizer

    def test_values_are_named_only_where_needed(self, small):
        # The learning rate distinguishes two runs that the option does not.
        runs = [
            small(str(n), {"optimizer": o, "optimizer.lr": r}) for n, (o, r) in enumerate([("sgd", 1), ("adam", 1)])
        ]
        runs.append(small("2", {"optimizer": "adam", "optimizer.lr": 0.5}))
        systems, accompanying, _ = find_systems(runs)
        assert list(names_and_runs(systems)) == ["sgd", "adam, lr=1", "adam, lr=0.5"]
        assert accompanying == []

    def test_phases_are_compared_one_by_one(self, small):
        phases = [[{"name": "frozen", "epochs": 10}, {"name": "tune", "lr_factor": scale}] for scale in (0.1, 1.0)]
        systems, accompanying, _ = find_systems(
            [small(str(n), {"finetune.phases": each}) for n, each in enumerate(phases)]
        )
        assert list(names_and_runs(systems)) == ["phases.1.lr_factor=0.1", "phases.1.lr_factor=1"]
        assert accompanying == []

    def test_ambiguous_names_use_full_setting_names(self, small):
        values = [(0.1, 0.2), (0.2, 0.1), (0.2, 0.2)]
        runs = [small(str(n), {"head.dropout": a, "backbone.dropout": b}) for n, (a, b) in enumerate(values)]
        assert next(iter(names_and_runs(find_systems(runs)[0]))) == "dropout=0.2, dropout=0.1"
        close = [small(f"close {n}", {"optimizer.lr": rate}) for n, rate in enumerate((0.00123451, 0.00123452))]
        assert list(names_and_runs(find_systems(close)[0])) == ["optimizer.lr=0.00123451", "optimizer.lr=0.00123452"]

    def test_values_determined_by_earlier_options_are_omitted(self, small):
        chosen = (("lenet", 28), ("cnn", 50), ("cnn", 100))
        runs = [small(str(n), {"backbone": name, "backbone.image_size": size}) for n, (name, size) in enumerate(chosen)]
        assert list(names_and_runs(find_systems(runs)[0])) == ["lenet", "cnn, image_size=50", "cnn, image_size=100"]

    def test_seeds_and_folds_are_replicates(self, small):
        runs = [
            small(f"{name} {seed} {fold}", {"backbone": name, "dataset.seed": seed}, seed=seed, fold=fold)
            for name in ("vgg16", "lenet")
            for seed in (0, 1)
            for fold in (0, 1, 2)
        ]
        systems, accompanying, duplicates = find_systems(runs)
        assert [(system.name, len(system.runs)) for system in systems] == [("vgg16", 6), ("lenet", 6)]
        assert (accompanying, duplicates) == ([], [])

    def test_render_seed_distinguishes_systems(self, small):
        systems, _, _ = find_systems([small(str(seed), {"dataset.render_seed": seed}) for seed in (0, 1)])
        assert list(names_and_runs(systems)) == ["render_seed=0", "render_seed=1"]

    def test_last_of_several_duplicates_is_used(self, small):
        runs = [small("first"), small("other", seed=1), small("second"), small("third")]
        systems, _, duplicates = find_systems(runs)
        assert names_and_runs(systems) == {"lenet": ["third", "other"]}
        assert [run.folder.name for run in duplicates] == ["first", "second"]

    def test_defaults_of_older_runs_do_not_separate_systems(self, small):
        older = small("older", {"optimizer.lr": 0.1, "augmentation.transforms": []}, seed=0)
        newer = small("newer", {"optimizer.lr": 0.1, "optimizer.fused": True, "optimizer.foreach": None}, seed=1)
        systems, accompanying, duplicates = find_systems([older, newer])
        assert (len(systems), accompanying, duplicates) == (1, [], [])

    @pytest.mark.parametrize(
        "name", ["dataset.root", "dataset.num_workers", "cache_dir", "ckpt_path", "logger.save_dir", "paper.name"]
    )
    def test_paths_and_workers_do_not_separate_systems(self, small, name):
        systems, accompanying, duplicates = find_systems([small(str(value), {name: value}) for value in ("a", "b")])
        assert len(systems) == 1
        assert accompanying == []
        assert len(duplicates) == 1

    def test_baseline_and_networks(self, small):
        runs = [small(name, {"backbone": name}) for name in ("vgg16", "lenet")]
        systems, accompanying, _ = find_systems(
            [*runs, small("lgbp", {"backbone": "lgbp", "pca": 0.95}, trained=False)]
        )
        assert list(names_and_runs(systems)) == ["vgg16", "lenet", "lgbp"]
        assert set(accompanying) == {*("sample", "head", "finetune", "optimizer", "scheduler", "trainer", "pca")}

    def test_single_run_is_named_after_its_backbone(self, small):
        systems, accompanying, duplicates = find_systems([small("run", {"backbone": "vgg16"})])
        assert names_and_runs(systems) == {"vgg16": ["run"]}
        assert (systems[0].settings, accompanying, duplicates) == ({}, [], [])

    def test_option_missing_in_one_run(self, small):
        systems, _, _ = find_systems([small("a"), small("b", {"experiment": "smoke"})])
        assert list(names_and_runs(systems)) == ["lenet", "smoke"]

    def test_moved_corpus_is_a_duplicate_and_different_data_a_new_system(self, small):
        places = {"a": "/data", "b": "/moved", "c": "/other"}
        runs = [small(name, {"dataset.root": root}) for name, root in places.items()]
        for run, content in zip(runs, ("one", "one", "two"), strict=True):
            run.results["data"]["fingerprint"] = content
        assert find_systems(runs[:2])[2] == runs[:1]
        systems, _, duplicates = find_systems(runs)
        assert names_and_runs(systems) == {"root=/data": ["b"], "root=/other": ["c"]}
        assert duplicates == runs[:1]
        runs[2].results["config"]["dataset"]["root"] = "/data"  # same folder, different content
        systems, _, duplicates = find_systems([runs[0], runs[2]])
        assert names_and_runs(systems) == {"data=one": ["a"], "data=two": ["c"]}
        assert duplicates == []

    def test_mixed_leakage_levels_are_joined(self, small):
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
    assert describe_settings(settings) == line


class TestComparing:
    def test_systems_with_same_rows_and_emotions_are_comparable(self, small):
        runs = [small(f"{n} {seed}", {"backbone": n}, seed=seed) for n in ("a", "b", "c") for seed in (0, 1)]
        other = small("d", {"backbone": "d"}, subjects=range(1, 4))
        systems, _, _ = find_systems([*runs, other])
        assert [[system.name for system in each] for each in comparable(systems)] == [["a", "b", "c"], ["d"]]

    def test_order_of_frames_does_not_matter(self, small):
        shuffled = small("b", {"backbone": "b"}, edit=lambda table: table.sample(frac=1, random_state=0))
        systems, _, _ = find_systems([small("a"), shuffled])
        assert len(comparable(systems)) == 1

    @pytest.mark.parametrize(("entry", "what"), [("emotion_labels_of", "emotion labels"), ("subjects_of", "subjects")])
    def test_systems_whose_weights_were_trained_on_the_corpus_are_apart(self, small, entry, what):
        seen = small("b", {"backbone": "b"}, level=f"{what.removeprefix('emotion ')} in pretraining")
        seen.results["leakage"]["weights"] = {entry: ["synthetic"]}
        systems, _, _ = find_systems([small("a"), seen])
        assert [len(each) for each in comparable(systems)] == [1, 1]
        reason = f"the initial weights of only one of the two were trained on {what} of the corpus"
        assert reason_not_comparable(*systems) == reason
        other = small("c", {"backbone": "c"})
        other.results["leakage"]["weights"] = {entry: ["synthetic"]}
        systems, _, _ = find_systems([seen, other])
        assert len(comparable(systems)) == 1

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"class_names": ["happy", "angry", "calm"]}, "different emotions: calm, sad in only one of the two"),
            ({"class_names": ["sad", "angry", "happy"]}, "the same emotions in a different order"),
            ({"subjects": range(1, 5)}, "different test rows: 9 and 12 clips, 6 of them in both"),
            ({"subjects": range(7, 9)}, "different test rows: 9 and 6 clips, 0 of them in both"),
            ({"frames": 2}, "different test rows: different frames of the same 9 clips"),
        ],
    )
    def test_incomparable_systems(self, small, options, reason):
        systems, _, _ = find_systems([small("a"), small("b", {"backbone": "b"}, **options)])
        assert [len(each) for each in comparable(systems)] == [1, 1]
        assert reason_not_comparable(*systems) == reason

    def test_same_frames_with_different_labels(self, small):
        def turn(table):
            return table.assign(label=["sad", *table["label"][1:]])

        systems, _, _ = find_systems([small("a"), small("b", {"backbone": "b"}, edit=turn)])
        assert len(comparable(systems)) == 2
        assert reason_not_comparable(*systems) == "different test rows: different labels of the same 9 clips"

    def test_same_subjects_in_different_folds(self, small):
        folds = {"loso": [[0], [1], [2], [3]], "subject_kfold": [[0, 1], [2, 3]]}
        runs = [
            small(f"{split} {fold}", split=split, fold=fold, subjects=subjects)
            for split, parts in folds.items()
            for fold, subjects in enumerate(parts)
        ]
        systems, _, _ = find_systems(runs)
        assert len(comparable(systems)) == 2
        assert reason_not_comparable(*systems) == "different test rows: the same 12 clips in different folds"

    def test_missing_folds(self, small):
        subjects = [range(0, 3), range(3, 6), range(6, 9)]
        runs = [small(f"a {fold}", {"backbone": "a"}, fold=fold, subjects=subjects[fold]) for fold in (0, 1, 2)]
        runs += [small(f"b {fold}", {"backbone": "b"}, fold=fold, subjects=subjects[fold]) for fold in (1, 2)]
        systems, _, _ = find_systems(runs)
        assert len(comparable(systems)) == 2
        assert reason_not_comparable(*systems).startswith(
            "different test rows: 3 and 2 folds or seeds, of which 2 share their test rows; train the missing ones"
        )


class TestRows:
    def test_clips_average_frames_and_replicates(self, small):
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
    def test_resampling_unit(self, small, known, unit):
        assert find_systems([small("a", known=known)])[0][0].unit == unit

    def test_one_unknown_subject_makes_clips_the_unit(self, small):
        run = small("a", edit=lambda table: table.assign(subject=table["subject"].where(table.index > 2)))
        assert find_systems([run])[0][0].unit == "clip"
