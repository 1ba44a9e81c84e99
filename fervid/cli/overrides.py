"""Settings as words of a command line: read as they were typed, and printed so that they can be typed again."""

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

# Settings that are text whatever they look like, by the last part of their names: paths, patterns, names.
TEXT = frozenset(
    "backbone.weights cache_dir ckpt_path csv dir folder model path prepared_dir root run runs save_dir source subdir "
    "subject_pattern title".split()
)
# A bare word that is a whole value or an element of a list, or else a quoted text, in which no word is looked for.
_ELEMENT = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:^|(?<=[\[,]))(\s*)([\w.+-]+)(?=\s*(?:[\],]|$))""")


def as_typed(words: Sequence[str]) -> list[str]:
    """The words of a command line with what looks like a number or a truth value quoted where text belongs.

    Hydra takes ``2024``, ``1e3``, ``2024_11_26`` and ``true`` for numbers and truth values; folders bear such names.
    ``null`` stays nothing: it is how a path is left out. A folder of that name is ``./null``.

    Args:
        words: of a Hydra command; options and words that Hydra cannot read stay as they are.
    """
    return [_as_typed(word) for word in words]


def _as_typed(word: str) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+~")
    known = name in TEXT or name.rsplit(".", 1)[-1] in TEXT or name.endswith(PATH_ENDING)
    if not equals or not known or re.match(r"\s*\w+\(", value):  # a function of Hydra's, which says what it gives
        return word
    return f"{key}={_ELEMENT.sub(_quoted_if_no_text, value)}"


def _quoted_if_no_text(match: re.Match[str]) -> str:
    blank, element = match.groups()
    return f"{blank}{quoted(element)}" if element and not isinstance(_parsed(element), str | None) else match.group()


def override(name: str, value: object) -> str:
    """A word of Hydra's grammar that gives a setting exactly this text, quoted only where it must be.

    Args:
        name: of the setting.
        value: the text; of another kind, as ``str`` has it.
    """
    text = str(value)
    # What a value between others would be, too: "a,b" is read as two of them.
    return f"{name}={text if '${' not in text and _parsed(text) == text else quoted(text)}"


def told_settings(config: DictConfig) -> dict[str, Any]:
    """What the command line says of what is learned: options and values by name.

    Args:
        config: with its ``choices`` and ``overrides``.
    """
    told = {}
    for override in OverridesParser.create().parse_overrides(list(config.get("overrides") or [])):
        name = override.key_or_group
        if not is_neutral(name) and not is_place(name) and not name.startswith("hydra"):
            value = (config.choices or {}).get(name) or OmegaConf.select(config, name)
            told[name] = value if isinstance(value, int | float) else str(value)
    return told


def printed_command(
    module: str, words: Sequence[str], settings: Mapping[str, object], python: str = sys.executable
) -> str:
    """A command line that a shell and Hydra read as it is meant.

    Args:
        module: to run, such as ``fervid.train``.
        words: as they were given to Hydra.
        settings: further ones by name; their values are taken as text.
        python: the interpreter.
    """
    return shlex.join([python, "-m", module, *words, *(override(name, value) for name, value in settings.items())])


def own_config_folder() -> list[str]:
    """The option that names the folder of the user's own yaml files, for :func:`printed_command`; empty without one."""
    return [f"--config-dir={folder}" for folder in config_folders()[1:2]]


def how_to_quote(error: BaseException, typed: Mapping[str, str]) -> str | None:
    """A sentence on the word that Hydra could not read as one value, with the word that it can.

    Args:
        error: of Hydra or OmegaConf.
        typed: for each word that Hydra was given, what the user typed.

    Returns:
        None if the error is of another kind.
    """
    said = str(error).splitlines() or [""]
    reason = f"cannot be read ({said[0]})"
    if isinstance(error, OverrideParseException):
        word = str(error.override)
    elif said[0].startswith("Ambiguous value for argument '"):
        word, reason = said[0].partition("'")[2].rstrip("'"), "has commas, which part several values"
    else:
        if not isinstance(error, InterpolationResolutionError | GrammarParseError):
            return None
        suspects = [word for word in typed if "${" in word]
        key = getattr(error, "full_key", None)
        word = next((word for word in suspects if word.partition("=")[0].lstrip("+") == key), next(iter(suspects), ""))
    word = typed.get(word, word)
    name, equals, value = word.partition("=")
    if not word or not re.fullmatch(r"[+~]*[\w./@-]+", name):
        return f"{word} is not setting=value: a blank needs quotes around the whole word." if word else None
    if not equals:
        return f"{word} is not setting=value: if it belongs to the word before it, put both in quotes."
    several = f"; a list is {name}=[...], and -m runs each" if "commas" in reason else ""
    return f"{word} {reason}: if it is one text, write {shlex.quote(f'{name}={quoted(value)}')}{several}."


def _parsed(text: str) -> object:
    """What Hydra reads a value as; a :class:`QuotedString`, which is no text, where it cannot."""
    try:
        return OverridesParser.create().parse_rule(text, "value")
    except HydraException:
        return QuotedString(text, Quote.double)


def escaped(text: str) -> str:
    """A text that OmegaConf gives back as it is, although it looks like a reference, ``${...}``."""
    # Backslashes before a reference are escapes to OmegaConf.
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", text)


def quoted(text: str) -> str:
    """A word of Hydra's grammar that gives exactly this text."""
    return QuotedString(escaped(text), Quote.double).with_quotes()  # OmegaConf reads what Hydra takes out of the quotes
