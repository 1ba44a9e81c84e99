"""A run folder chooses no code: only fervid's own classes and parts of trusted packages are used."""

import json
import sys
from contextlib import suppress
from copy import deepcopy

import pytest
from stored_results import COMMANDS, edit, put

import fervid
from fervid.errors import InputError
from fervid.runs.load import reopen_corpus
from fervid.runs.run import open_run

CANARY = """
import os
from pathlib import Path

def touch(*args, **kwargs):
    Path(os.environ["CALLED"]).touch()
"""


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """The file that ``canary.touch`` writes when something calls it."""
    (tmp_path / "canaries").mkdir()
    (tmp_path / "canaries" / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(tmp_path / "canaries")
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    yield tmp_path / "called"
    sys.modules.pop("canary", None)


def nodes(config, path=()):
    """Paths of all values of a nested configuration."""
    entries = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for name, value in entries:
        yield (*path, name)
        yield from nodes(value, (*path, name))


def test_no_value_of_a_stored_configuration_can_call_code(run, trained, canary):
    results = open_run(run).results
    paths = list(nodes(results["config"]))
    assert len(paths) > 60
    opened = 0
    for path in paths:
        changed = deepcopy(results)
        node = changed["config"]
        for name in path[:-1]:
            node = node[name]
        node[path[-1]] = {"_target_": "canary.touch"}
        (run / "results.json").write_text(json.dumps(changed))
        for attempt in (
            lambda: fervid.load_run(run),
            lambda changed=changed: reopen_corpus(run, changed, trained.cache, trained.corpus),
        ):
            with suppress(InputError):
                attempt()
                opened += 1
            assert not canary.exists(), path
    assert opened > 20


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_calls_what_the_size_of_pictures_names(name, run, canary, command, monkeypatch):
    monkeypatch.setattr("fervid.demo.page.build_page", lambda *_, **__: sys.exit(0))
    edit(run, put("config.backbone.image_size", {"_target_": "canary.touch"}))
    command(name, run)
    assert not canary.exists()


# Packages that the user trusts

PACKAGE = """
import os
from pathlib import Path

from fervid.models.paper_backbones import LeNet

Path(os.environ["IMPORTED"]).touch()

class Net(LeNet):
    pass

class _Hidden(LeNet):
    pass

class Shell:
    def __init__(self, command):
        Path(os.environ["IMPORTED"]).with_name(command).touch()

def start(command):
    Shell(command)
"""


@pytest.fixture
def own_net(run, tmp_path, monkeypatch):
    """A run with a backbone of a user's package, and the file that the package writes on import."""
    (tmp_path / "site" / "own_net").mkdir(parents=True)
    (tmp_path / "site" / "own_net" / "__init__.py").write_text(PACKAGE)
    monkeypatch.setenv("IMPORTED", str(tmp_path / "imported"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    edit(run, put("config.backbone._target_", "own_net.Net"))
    yield run, tmp_path / "imported"
    sys.modules.pop("own_net", None)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_opens_a_run_of_a_trusted_package(name, own_net, command, monkeypatch):
    monkeypatch.setattr("fervid.demo.page.build_page", lambda *_, **__: sys.exit(0))  # by then the run has been opened
    code, printed = command(name, own_net[0], "trust=own_net")
    assert code == 0, printed
    assert own_net[1].exists()


def test_python_opens_a_run_of_a_trusted_package(own_net):
    run, imported = own_net
    for opened in (fervid.load_run, fervid.Predictor):
        with pytest.raises(InputError, match=r"refers to own_net\.Net, .* give trust=<its package>"):
            opened(run)
    assert not imported.exists()
    for trust in ("own_net", ["torch", "own_net"]):
        assert type(fervid.load_run(run, trust=trust).backbone).__name__ == "Net"
        assert fervid.Predictor(run, trust=trust).class_names == ["angry", "happy", "sad"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("own_net.start", "is not a corpus, detector, sample, network or split"),
        ("own_net.Shell", "is not a corpus, detector, sample, network or split"),
        ("own_net._Hidden", "names that begin with _ are refused"),
        ("own_net.__main__.Net", "names that begin with _ are refused"),
    ],
)
def test_other_code_of_a_trusted_package_is_not_called(path, sentence, own_net, tmp_path):
    run, imported = own_net
    (tmp_path / "site" / "own_net" / "__main__.py").write_text("import own_net; own_net.start('started')")
    edit(run, put("config.head", {"_target_": path, "command": "started"}))
    with pytest.raises(InputError, match=sentence):
        fervid.load_run(run, trust="own_net")
    assert not imported.with_name("started").exists()


@pytest.mark.parametrize("trust", ["own", "own_net.Net", "net", "Own_net", ["own", "own_net2"]])
def test_trusted_package_must_match_whole_name(trust, own_net):
    run, imported = own_net
    with pytest.raises(InputError, match="if you know and trust this code"):
        fervid.load_run(run, trust=trust)
    assert not imported.exists()


@pytest.mark.parametrize("trust", ["", ".", "own_net.", "own-net", "own net", "../own_net", 3, [None], "1own"])
def test_invalid_package_name_is_rejected(trust, own_net):
    with pytest.raises(InputError, match="is not a package name"):
        fervid.load_run(own_net[0], trust=trust)


def test_code_only_imported_by_trusted_package_is_rejected(own_net, tmp_path):
    run, _ = own_net
    edit(run, put("config.head", {"_target_": "own_net.os.system", "command": f"touch {tmp_path / 'called'}"}))
    with pytest.raises(InputError, match=r"own_net\.os\.system, which is not defined in own_net"):
        fervid.load_run(run, trust="own_net")
    edit(run, put("config.head", {"_target_": "own_net.LeNet"}))
    with pytest.raises(InputError, match=r"own_net\.LeNet, which is not defined in own_net"):
        fervid.load_run(run, trust="own_net")
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("extra", [{"_args_": [1]}, {"_call_": "x"}])
def test_other_hydra_keywords_are_rejected_with_trusted_package(extra, own_net):
    run, imported = own_net
    edit(run, put("config.backbone", {"_target_": "own_net.Net", "image_size": 28} | extra))
    with pytest.raises(InputError, match="which fervid never writes"):
        fervid.load_run(run, trust="own_net")
    assert not imported.exists()


def test_untrusted_code_is_rejected_before_trusted_package_is_imported(own_net):
    run, imported = own_net
    edit(run, put("config.head._target_", "os.system"))
    with pytest.raises(InputError, match=r"refers to os\.system"):
        fervid.load_run(run, trust="own_net")
    assert not imported.exists()


def test_missing_trusted_package_is_one_sentence(own_net, command):
    run, _ = own_net
    edit(run, put("config.backbone._target_", "not_there.Net"))
    for name in ("predict", "report"):
        code, printed = command(name, run, "trust=not_there")
        assert (code, "cannot be imported" in printed, "Traceback" in printed) == (1, True, False), printed


@pytest.mark.parametrize(
    ("backbone", "match"),
    [
        ({"name": "hf_hub:attacker/network"}, "it would download hf_hub:attacker/network: allow it with trust=timm"),
        ({"name": "resnet18", "options": {"checkpoint_path": "/etc/passwd"}}, "options.checkpoint_path cannot be set"),
        ({"name": "resnet18", "options": {"pretrained": True}}, "options.pretrained cannot be set"),
        ({"name": "resnet18", "options": {"pretrained_cfg_overlay": {"url": "x"}}}, "pretrained_cfg_overlay cannot be"),
        ({"name": "resnet18", "mean": [{"weights": "x", "name": "hf_hub:a/b"}]}, "it would download hf_hub:a/b"),
    ],
)
def test_run_folder_cannot_choose_downloads(run, backbone, match):
    results = json.loads((run / "results.json").read_text())
    target = "fervid.models.pretrained.PretrainedBackbone"
    results["config"]["backbone"] = {
        "_target_": target,
        "library": "timm",
        "weights": None,
        "image_size": 64,
        **backbone,
    }
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match=match):
        fervid.load_run(run)
