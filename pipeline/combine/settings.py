"""How datasets are combined; light to import, since it is also command-line options."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pipeline.settings import CheckedSettings, Option, Rule, at_least

Share = Annotated[float, Rule(lambda share: 0 < share <= 1, "a number above 0 and at most 1"), Option("X")]


@dataclass(frozen=True, kw_only=True)
class CombineSettings(CheckedSettings):
    """How they are combined (an output keeps these; another choice needs another output)."""

    mode: Literal["average", "best", "agree"] = "average"
    """average: per pixel, a weighted vote; best: per expression, the answer with the highest score times weight;
    agree: the vote, where every dataset has the object and any two of its tracks agree, else nothing."""
    weigh_by: Literal["none", "score", "presence"] = "none"
    """Multiply each dataset's weight by an answer's score or presence; an answer without an object weighs 0.5 as a
    score, and one minus its presence."""
    mask_share: Share = 0.5
    """A pixel is in the mask where at least this share of the weights says so."""
    match_iou: Share = 0.5
    """Where answers have several objects: those of two datasets are one object if their tracks have at least this
    IoU."""
    agree_iou: Share = 0.5
    """For agree: least IoU between any two tracks of an object."""
    presence_votes: Annotated[int, at_least(1), Option("K")] | None = None
    """Make presence the Kth highest of the datasets', so that a threshold keeps what K of them keep (default: their
    weighted mean)."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for ``run.json``."""
        return asdict(self)
