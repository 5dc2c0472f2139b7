"""What a step of the first session is given, and what it has measured so far, on disk at every moment."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.storage.atomic import replace_file


class Results:
    """Rows of a step's table; each is on disk once it is added.

    Args:
        file: JSON list of rows.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.rows: list[dict[str, Any]] = []

    def add(self, **row: Any) -> None:  # noqa: ANN401 - what can be JSON
        """Add a row."""
        self.extend([row])

    def extend(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add several rows."""
        self.rows += [dict(row) for row in rows]
        replace_file(self._file, (json.dumps(self.rows) + "\n").encode())

    def keep(self, name: str, report: Mapping[str, Any]) -> None:
        """Write a report of its own beside the table."""
        file = self._file.with_name(f"{name.replace(' ', '_')}.report.json")
        replace_file(file, (json.dumps(report, indent=1) + "\n").encode())


@dataclass(frozen=True)
class Setting:
    """What a step works with.

    Attributes:
        device: What is measured.
        model: As ``--model``.
        results: Where rows go.
    """

    device: torch.device
    model: str
    results: Results

    @property
    def is_cuda(self) -> bool:
        """Whether it is the real thing; else sizes are small."""
        return self.device.type == "cuda"
