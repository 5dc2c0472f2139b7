"""Model families: one file each, listed here. See :mod:`pipeline.model.families.base` for what a family has to say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.model.families.base import ModelConfig, ModelFamily
from pipeline.model.families.internvl import InternVL
from pipeline.model.families.qwen import Qwen3VL, Qwen25VL

FAMILIES: list[ModelFamily] = [InternVL(), Qwen3VL(), Qwen25VL()]
"""In this order they are asked whether a checkpoint is theirs."""


def read_config(directory: Path) -> ModelConfig:
    """Read ``directory/config.json``, and what the family needs of other files beside it.

    Raises:
        CheckpointError: Not a checkpoint directory, of no known family, or with a part that is not supported.
    """
    path = directory / "config.json"
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such model directory")
    if not path.is_file():
        raise CheckpointError(f"{directory}: not a model directory (it has no config.json)")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    config = config_of(values, origin=str(path))
    return config.family.read_files(directory, config)


def config_of(values: Mapping[str, Any], *, origin: str = "config.json") -> ModelConfig:
    """Check and reduce the contents of a ``config.json``; ``origin`` names the file in messages.

    Raises:
        CheckpointError: See :func:`read_config`.
    """
    if isinstance(values, dict):
        for family in FAMILIES:
            if family.recognises(values):
                return family.read_config(values, origin)
    architectures = values.get("architectures") if isinstance(values, dict) else None
    known = "; ".join(family.name for family in FAMILIES)
    if "SAM3" in str(architectures).upper() or "sam3" in json.dumps(values, default=str).lower():
        raise CheckpointError(
            f"{origin}: Sa2VA with a SAM 3 trunk (Sa2VA-Qwen3-VL-4B-SAM3) is not supported yet (supported: {known})"
        )
    raise CheckpointError(
        f"{origin}: architectures is {architectures}, which is no Sa2VA or Sa2VA-i model of a family known here "
        f"(known: {known})"
    )
