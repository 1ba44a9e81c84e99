"""``--help`` explains each setting of each command and of each option."""

import re
import shlex
from pathlib import Path

import pytest

from fervid.cli.options import command_groups, options_by_group
from fervid.cli.settings_help import settings_help
from fervid.schema.config_folder import CONFIG_FOLDER
from fervid.search import DESCRIPTION
from fervid.search.space import SearchSpace

COMMANDS = sorted(path.stem for path in Path(CONFIG_FOLDER).glob("*.yaml"))
DELTAS = ("experiment", "paper", "sweep")  # they set what is explained elsewhere


def unexplained(settings):
    """Returns the settings without a comment, neither their own nor that of the enclosing list or group."""
    missing, around = [], []
    for line in settings.split("== Settings (setting=value) ==\n")[1].split("\n\n")[0].splitlines():
        key = re.match(r"((?: |- )*)(\w+):(.*)", line)
        if key is None or key[2] in ("_target_", "_partial_"):
            continue
        depth, explained = len(key[1]), " # " in line
        around = [(other, name, has_comment) for other, name, has_comment in around if other < depth]
        value = key[3].partition(" #")[0].strip()
        # A group's own comment names its option, and explains none of its settings.
        if value and not explained and not any(has_comment for other, _, has_comment in around if other):
            missing.append(".".join([*(name for _, name, _ in around), key[2]]))
        around.append((depth, key[2], explained))
    return missing


@pytest.mark.parametrize("command", COMMANDS)
def test_each_setting_of_a_command_has_a_comment(command):
    assert unexplained(settings_help(command, [])) == []


def test_each_setting_of_each_option_has_a_comment():
    options = {group: options_by_group()[group] for group in command_groups("train") if group not in DELTAS}
    for number in range(max(map(len, options.values()))):
        words = [f"{group}={names[number % len(names)]}" for group, names in options.items()]
        assert unexplained(settings_help("train", words)) == [], words


def test_group_names_the_chosen_option():
    output = settings_help("train", ["backbone=resnet18"])
    assert re.search(r"^backbone: +# backbone=resnet18$", output, flags=re.MULTILINE)
    assert re.search(r"^augmentation: \{\} +# augmentation=none$", output, flags=re.MULTILINE)


def test_printed_tables_of_a_paper_are_not_listed():
    assert "printed:" not in settings_help("train", ["experiment=ised_lenet"])


@pytest.mark.parametrize("line", re.findall(r"^  \S.*", DESCRIPTION, flags=re.MULTILINE))
def test_the_syntax_that_search_explains_is_searched(line):
    word = shlex.split(line)[0]
    SearchSpace(["finetune=two_phase", word]).check()
