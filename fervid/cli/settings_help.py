"""Writes the text of ``--help``: the options, and the settings with the comments from their yaml files.

This module has no heavy imports, so that ``--help`` responds immediately.
"""

import re
from pathlib import Path

from omegaconf import OmegaConf, open_dict

from fervid.cli.hydra_compose import compose_with_hydra
from fervid.cli.options import command_groups, corpora_of_files, option_files, options_by_group
from fervid.schema.config_folder import CONFIG_FOLDER

COMMENT_COLUMN = 27  # column of the comments, as in the yaml files


def settings_help(command: str, words: list[str]) -> str:
    """Returns the help of a command, in half the time of Hydra's own help.

    Args:
        command: name of its primary configuration.
        words: overrides; the settings of the options that they choose are described.
    """
    config = compose_with_hydra(command, words)
    template, choices = config.hydra.help, config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
        config.pop("paper", None)  # the printed tables of a paper: hundreds of lines that are not settings
        for group in choices.keys() - {*command_groups(command)}:  # of the network, in commands without one
            config.pop(group, None)
    comments = _comments(Path(CONFIG_FOLDER, f"{command}.yaml"), "")
    for group, option in choices.items():
        if option is not None and not group.startswith("hydra"):
            name, _, package = group.partition("@")  # such as backbone@identity.backbone
            package = package or name
            comments[package] = [f"{group}={option}"]
            for file in reversed(option_files(name, option)):
                comments = _comments(file, f"{package}.") | comments
    settings = re.sub(r"\$\{oc\.env:(\w+),'([^']*)'\}", r"\2", OmegaConf.to_yaml(config))
    options = options_by_group()
    if command == "prepare":
        options["dataset"] = corpora_of_files()
    groups = [f"{group}: {', '.join(options[group])}" for group in sorted(command_groups(command))]
    parts = [template.header]
    if groups:
        parts.append("\n".join(["== Choices (option=choice) ==", *groups]))
    parts.append("\n".join(["== Settings (setting=value) ==", _with_comments(settings, comments)]))
    return "\n\n".join([*parts, template.footer])


def _comments(file: Path, prefix: str) -> dict[str, list[str]]:
    """Returns the comments of the settings in a yaml file by dotted name; a comment may continue on the next lines."""
    text = file.read_text(encoding="utf-8")
    comments: dict[str, list[str]] = {}
    for name, rest in _names(text, "" if "@package _global_" in text else prefix):
        comment = re.search(r"(?:^|\s)#\s?(.*)$", rest)
        if comment:
            comments.setdefault(name, []).append(comment[1])
    return comments


def _with_comments(settings: str, comments: dict[str, list[str]]) -> str:
    """Adds comments to settings in yaml."""
    lines = []
    for line, (name, _) in zip(settings.splitlines(), _names(settings, ""), strict=True):
        first, *more = comments.pop(name, [""])  # in a list, only the first element has the comment
        lines.append(f"{line:<{COMMENT_COLUMN - 1}} # {first}" if first else line)
        lines += [f"{'':<{COMMENT_COLUMN - 1}} # {comment}" for comment in more]
    return "\n".join(lines)


def _names(text: str, prefix: str) -> list[tuple[str, str]]:
    """Returns, for each line of a yaml text, the dotted name of its setting and the rest of the line."""
    names, open_names = [], [(-1, "")]
    for line in text.splitlines():
        key = re.match(r"(\s*(?:- )?)([\w]+):(.*)", line)
        if key:
            while open_names[-1][0] >= len(key[1]):
                open_names.pop()
            open_names.append((len(key[1]), f"{open_names[-1][1]}{key[2]}."))
        names.append((prefix + open_names[-1][1].rstrip("."), key[3] if key else line))
    return names
