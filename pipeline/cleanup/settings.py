"""What clean-up of masks can be asked for; light to import, since it is also command-line options."""

from dataclasses import dataclass
from typing import Annotated

from pipeline.settings import CheckedSettings, Option, at_least, between


@dataclass(frozen=True, kw_only=True)
class CleanUp(CheckedSettings):
    """Clean-up of masks."""

    specks_below: Annotated[int, at_least(0), Option("PX")] = 0
    """Remove connected parts of a mask that have fewer pixels than this (0: none)."""
    holes_below: Annotated[int, at_least(0), Option("PX")] = 0
    """Fill holes of a mask that have fewer pixels than this (0: none)."""
    blank_below: Annotated[float, between(0, 1), Option("S")] = 0.0
    """Empty the masks of frames whose own score is below this, 0 to 1 (0: none)."""

    @property
    def is_on(self) -> bool:
        """Whether anything is cleaned at all."""
        return bool(self.specks_below or self.holes_below or self.blank_below)
