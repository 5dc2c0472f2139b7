"""Command-line options from the fields of a dataclass, and a dataclass from options and a YAML file."""

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import MISSING
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pipeline.cli.config_file import read_config_file
from pipeline.errors import UsageError
from pipeline.settings import Setting, help_texts, missing_settings, settings_of

T = TypeVar("T")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of description and epilog, and words with hyphens in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, wants names of options in full, and keeps line breaks of its texts."""

    def __init__(self, *, prog: str, description: str | None, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with one line."""
        raise UsageError(f"{' '.join(message.split())} (--help lists everything)")


def parse(cls: type[T], arguments: Sequence[str], *, prog: str, description: str, epilog: str = "") -> T:
    """An instance of the dataclass ``cls`` from command-line arguments.

    If ``cls`` has a field ``config``, it names a YAML file of further settings; the command line wins over it.

    Raises:
        UsageError: An option that does not exist, a value that does not fit, or one that is missing.
        SystemExit: With code 0, after ``--help``.
    """
    parser = Parser(prog=prog, description=description, epilog=epilog)
    parser.usage = " ".join([prog, *(_shown(s) for s in settings_of(cls) if s.option.positional), "[options]"])
    settings, texts = settings_of(cls), help_texts(cls)
    for title, group in groupby(settings, key=lambda setting: setting.group):
        section = parser.add_argument_group(title)
        for setting in group:
            _add_option(section, setting, texts.get(setting.name, ""))
    given = vars(parser.parse_args(arguments))
    by_name = {setting.name: setting for setting in settings}
    values = {name: _value(by_name[name], text) for name, text in given.items()}
    if "config" in values:
        allowed = [setting for setting in settings if setting.name != "config"]
        values = read_config_file(Path(values["config"]), allowed) | values
    missing = [_shown(by_name[name]) for name in missing_settings(cls, values)]
    if missing:
        raise UsageError(f"{', '.join(missing)} missing (--help lists everything)")
    return cls(**values)


def _add_option(section: argparse._ArgumentGroup, setting: Setting, text: str) -> None:
    text = text.rstrip(".").replace("%", "%%")
    if setting.default is MISSING:
        text += " (required)"
    elif "default:" not in text and setting.default not in (None, False, []):
        shown = ",".join(map(str, setting.default)) if isinstance(setting.default, list) else setting.default
        text += f" (default: {shown})"
    kinds: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
    if setting.types == (bool,):
        kinds["action"] = "store_true"
    elif setting.choices:
        kinds["metavar"] = "{" + ",".join(setting.choices) + "}"
    else:
        kinds["metavar"] = setting.option.metavar or setting.name.upper()
    if list in setting.types and setting.items is str:
        kinds |= {"action": "extend", "nargs": "+"} if setting.option.several else {"action": "append"}
    if setting.option.positional:
        section.add_argument(setting.name, **kinds)
    else:
        section.add_argument(_shown(setting), dest=setting.name, **kinds)


def _value(setting: Setting, given: Any) -> Any:  # noqa: ANN401 - an option has any type
    return setting.checked(setting.parsed(given) if isinstance(given, str) else given)


def _shown(setting: Setting) -> str:
    if setting.option.positional:
        return setting.option.metavar or setting.name.upper()
    return f"--{setting.name.replace('_', '-')}"
