"""``--config run.yaml``: settings from a YAML file, checked as the fields of the configuration say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.settings import Setting
from pipeline.yaml_file import read_yaml


def read_config_file(path: Path, settings: Sequence[Setting]) -> dict[str, Any]:
    """The settings that a YAML file gives, by name.

    Raises:
        UsageError: The file is unreadable or not a mapping, a name does not exist, or a value does not fit. One line
            that names file and setting.
    """
    values = read_yaml(path)
    known = {setting.name: setting for setting in settings}
    unknown = sorted(set(map(str, values)) - known.keys())
    if unknown:
        raise UsageError(f"{path}: unknown settings {', '.join(unknown)} (--help lists all)")
    return {name: known[name].checked(value, f"{path}: {name}") for name, value in values.items()}
