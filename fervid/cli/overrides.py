"""Quotes settings of a command line for Hydra's grammar, and prints commands that can be pasted into a shell."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError

from fervid.schema.config_folder import config_folders
from fervid.schema.same_system import PATH_ENDING, is_neutral, is_place

# Last parts of the names of settings whose values are always text: paths, patterns, names.
TEXT = frozenset(
    "backbone.weights cache_dir ckpt_path csv dir folder model path prepared_dir root run runs save_dir source subdir "
    "subject_pattern title".split()
)
# Matches a bare word that is a whole value or an element of a list; also quoted text, which is then skipped.
_ELEMENT = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:^|(?<=[\[,]))(\s*)([\w.+-]+)(?=\s*(?:[\],]|$))""")


def as_typed(words: Sequence[str]) -> list[str]:
    """Quotes numbers and truth values where a setting expects text, such as a path.

    Hydra parses ``2024``, ``1e3``, ``2024_11_26`` and ``true`` as numbers and truth values, but folders can have such
    names. ``null`` is not quoted, since it means that no path is given; a folder of that name is ``./null``.

    Args:
        words: the words of a Hydra command; options and words that Hydra cannot parse are returned unchanged.
    """
    return [_as_typed(word) for word in words]


def _as_typed(word: str) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+~")
    known = name in TEXT or name.rsplit(".", 1)[-1] in TEXT or name.endswith(PATH_ENDING)
    if not equals or not known or re.match(r"\s*\w+\(", value):  # a function of Hydra's grammar
        return word
    return f"{key}={_ELEMENT.sub(_quote_unless_text, value)}"


def _quote_unless_text(match: re.Match[str]) -> str:
    blank, element = match.groups()
    return f"{blank}{quoted(element)}" if element and not isinstance(_parsed(element), str | None) else match.group()


def override(name: str, value: object) -> str:
    """Returns ``name=value`` in Hydra's grammar, with text quoted only if necessary.

    Args:
        name: name of the setting.
        value: None, a number, a truth value, a list or dictionary of such values, or text (anything else).
    """
    return f"{name}={_written(value)}"


def _written(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(key)}:{_written(each)}" for key, each in value.items()) + "}"
    text = str(value)
    # Quoted also if it would be parsed as several values, such as "a,b".
    return text if "${" not in text and _parsed(text) == text else quoted(text)


def overridden_settings(config: DictConfig) -> dict[str, Any]:
    """Returns the options and values on the command line that affect what is learned, by name.

    Args:
        config: the configuration with its ``choices`` and ``overrides``.
    """
    settings = {}
    for override in OverridesParser.create().parse_overrides(list(config.get("overrides") or [])):
        name = override.key_or_group
        if not is_neutral(name) and not is_place(name) and not name.startswith("hydra"):
            value = (config.choices or {}).get(name) or OmegaConf.select(config, name)
            settings[name] = value if isinstance(value, int | float) else str(value)
    return settings


def printed_command(
    module: str, words: Sequence[str], settings: Mapping[str, object], python: str = sys.executable
) -> str:
    """Returns a command line that is correctly quoted for a shell and for Hydra.

    Args:
        module: the module to run, such as ``fervid.train``.
        words: words as they were passed to Hydra.
        settings: further settings by name; see :func:`override`.
        python: the interpreter.
    """
    return shlex.join([python, "-m", module, *words, *(override(name, value) for name, value in settings.items())])


def own_config_folder() -> list[str]:
    """Returns the option ``--config-dir`` for :func:`printed_command`; empty if the user has no such folder."""
    return [f"--config-dir={folder}" for folder in config_folders()[1:2]]


def how_to_quote(error: BaseException, typed: Mapping[str, str]) -> str | None:
    """Describes the word that Hydra could not parse as one value, with its correctly quoted form.

    Args:
        error: an error of Hydra or OmegaConf.
        typed: word passed to Hydra -> word as the user typed it.

    Returns:
        One sentence; None if the error is of another kind.
    """
    lines = str(error).splitlines() or [""]
    reason = f"cannot be parsed ({lines[0]})"
    if isinstance(error, OverrideParseException):
        word = str(error.override)
    elif lines[0].startswith("Ambiguous value for argument '"):
        word, reason = lines[0].partition("'")[2].rstrip("'"), "contains commas, which separate several values"
    else:
        if not isinstance(error, InterpolationResolutionError | GrammarParseError):
            return None
        suspects = [word for word in typed if "${" in word]
        key = getattr(error, "full_key", None)
        word = next((word for word in suspects if word.partition("=")[0].lstrip("+") == key), next(iter(suspects), ""))
    word = typed.get(word, word)
    name, equals, value = word.partition("=")
    if not word or not re.fullmatch(r"[+~]*[\w./@-]+", name):
        return f"{word} is not setting=value: put a word with spaces in quotes." if word else None
    if not equals:
        return f"{word} is not setting=value: if it belongs to the word before it, put both in quotes."
    several = f"; for a list, write {name}=[...]; to run each value, use -m" if "commas" in reason else ""
    return f"{word} {reason}: if it is one text, write {shlex.quote(f'{name}={quoted(value)}')}{several}."


def _parsed(text: str) -> object:
    """Parses a value with Hydra's grammar; returns a :class:`QuotedString`, which is not ``str``, if that fails."""
    try:
        return OverridesParser.create().parse_rule(text, "value")
    except HydraException:
        return QuotedString(text, Quote.double)


def escaped(text: str) -> str:
    """Escapes ``${...}`` in a text, so that OmegaConf does not resolve it."""
    # OmegaConf treats backslashes before an interpolation as escapes.
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", text)


def quoted(text: str) -> str:
    """Quotes a text for Hydra's grammar."""
    return QuotedString(escaped(text), Quote.double).with_quotes()  # OmegaConf reads the text without the quotes
