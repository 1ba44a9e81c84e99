"""What ``--help`` says: the options, and the settings with the comments that their yaml files give them.

Nothing heavy is imported here, so that it answers at once.
"""

import re
from pathlib import Path

from omegaconf import OmegaConf, open_dict

from fervid.cli.hydra_compose import compose_with_hydra
from fervid.cli.options import command_groups, corpora_of_files, option_files, options_by_group
from fervid.schema.config_folder import CONFIG_FOLDER

COLUMN = 27  # where comments begin, as in the yaml files


def settings_help(command: str, words: list[str]) -> str:
    """The help of a command. Hydra's own way copies its whole register for every group: twice the time.

    Args:
        command: its primary configuration.
        words: overrides; what they choose is explained.
    """
    config = compose_with_hydra(command, words)
    said, choices = config.hydra.help, config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
        config.pop("paper", None)  # printed tables, hundreds of lines that nobody sets
    comments = _comments(Path(CONFIG_FOLDER, f"{command}.yaml"), "")
    for group, option in choices.items():
        if option is not None and not group.startswith("hydra"):
            comments[group] = [f"{group}={option}"]
            for file in reversed(option_files(group, option)):
                comments = _comments(file, f"{group}.") | comments
    settings = re.sub(r"\$\{oc\.env:(\w+),'([^']*)'\}", r"\2", OmegaConf.to_yaml(config))
    options = options_by_group()
    if command == "prepare":
        options["dataset"] = corpora_of_files()
    groups = [f"{group}: {', '.join(options[group])}" for group in sorted(command_groups(command))]
    parts = [said.header]
    if groups:
        parts.append("\n".join(["== Choices (option=choice) ==", *groups]))
    parts.append("\n".join(["== Settings (setting=value) ==", _explained(settings, comments)]))
    return "\n\n".join([*parts, said.footer])


def _comments(file: Path, prefix: str) -> dict[str, list[str]]:
    """The comments behind the settings of a yaml file, by their dotted names; lines of comment below go on with one."""
    text = file.read_text(encoding="utf-8")
    comments: dict[str, list[str]] = {}
    for name, rest in _names(text, "" if "@package _global_" in text else prefix):
        comment = re.search(r"(?:^|\s)#\s?(.*)$", rest)
        if comment:
            comments.setdefault(name, []).append(comment[1])
    return comments


def _explained(settings: str, comments: dict[str, list[str]]) -> str:
    """Settings in yaml with their comments."""
    lines = []
    for line, (name, _) in zip(settings.splitlines(), _names(settings, ""), strict=True):
        first, *more = comments.pop(name, [""])  # of a list the first element alone
        lines.append(f"{line:<{COLUMN - 1}} # {first}" if first else line)
        lines += [f"{'':<{COLUMN - 1}} # {each}" for each in more]
    return "\n".join(lines)


def _names(text: str, prefix: str) -> list[tuple[str, str]]:
    """The dotted name that each line of a yaml text is about, and what stands behind it."""
    names, open_names = [], [(-1, "")]
    for line in text.splitlines():
        key = re.match(r"(\s*(?:- )?)([\w]+):(.*)", line)
        if key:
            while open_names[-1][0] >= len(key[1]):
                open_names.pop()
            open_names.append((len(key[1]), f"{open_names[-1][1]}{key[2]}."))
        names.append((prefix + open_names[-1][1].rstrip("."), key[3] if key else line))
    return names
