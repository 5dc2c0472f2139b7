"""What a recipe led to."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Outcome:
    """What a recipe led to.

    Attributes:
        summary: File of the page.
        submission: The zip file (or folder), if there is one.
        faults: What the check of the submission found.
        missing: Expressions that the submission holds empty, or not at all, because there is no answer.
        failed: Expressions that failed, in all runs together.
        numbers: By step on the split to choose on: the benchmark's numbers, fractions of 1.
        datasets: By split and name: the dataset.
        threshold: What ``--reject-below`` was.
        chosen: How the threshold was chosen; empty where it was not.
    """

    summary: str = ""
    submission: str | None = None
    faults: list[str] = field(default_factory=list)
    missing: int = 0
    failed: int = 0
    numbers: dict[str, dict[str, float | None]] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    threshold: float | None = None
    chosen: dict[str, Any] = field(default_factory=dict)
