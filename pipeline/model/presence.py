"""Is what an expression names in the video at all? One probability from what the model says and does anyway.

Sa2VA was trained without absent objects and draws a mask for nearly everything it is asked for. Its language model
knows more than its masks show: asked "is there ...?" on the same keyframes, it often says no. A logistic function puts
together that answer, whether the reply names an object, and how the first masks look. Masks never change.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.model.score import TrackEvidence
    from pipeline.model.segment import Track

CALIBRATION_FILE = "presence.json"
"""Beside a checkpoint's config.json: weights that were fitted for it."""
_LONGEST_ODDS = 8.0
"""Log-odds are cut here, so that one sure answer cannot outweigh everything else."""


@dataclass(frozen=True, kw_only=True)
class PresenceEvidence:
    """What speaks for an expression's object being there."""

    yes: float
    """Log-odds of "yes" against "no" as the answer to the presence question, -8..8; 0 where it was not asked."""
    named: float
    """1 if the reply holds a ``[SEG]``, else 0."""
    predicted_iou: float
    """IoU that the fine-tuned decoder predicts for its first masks, 0..1; the best object's; 0 without one."""
    object_presence: float
    """SAM 2's confidence that the object is on the tracked frames, 0..1; likewise."""
    agreement: float
    """Agreement of the tracker with the first masks, 0..1; likewise."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Weights of the evidence.

    The defaults are not fitted to anything: the answer to the question counts as the model gives it, and a reply that
    names no object counts against presence. Fit your own on a ground truth with absent expressions
    (``python -m pipeline.workshop.fit_presence``).
    """

    bias: float = -2.0
    yes: float = 1.0
    named: float = 2.0
    predicted_iou: float = 0.0
    object_presence: float = 0.0
    agreement: float = 0.0

    def probability(self, evidence: PresenceEvidence) -> float:
        """The probability, 0..1, that the object is in the video."""
        odds = self.bias + sum(getattr(self, name) * value for name, value in vars(evidence).items())
        return 1 / (1 + math.exp(-odds))

    def of_tracks(self, yes_probability: float | None, tracks: Sequence["Track"]) -> float:
        """The probability for one expression, from the answer to the question and the objects of its reply."""
        return self.probability(presence_evidence(yes_probability, [track.evidence for track in tracks]))

    @classmethod
    def from_json(cls, text: str, *, origin: str) -> "Calibration":
        """Read a calibration file; ``origin`` names it in messages.

        Raises:
            UsageError: It is not one.
        """
        try:
            values: Any = json.loads(text)
            if not isinstance(values, Mapping):
                raise TypeError("not a JSON object")
            weights = {str(name): float(value) for name, value in values["weights"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{origin}: not a presence calibration ({error!r})") from error
        unknown = sorted(set(weights) - {field.name for field in fields(cls)})
        if unknown or not all(math.isfinite(weight) for weight in weights.values()):
            raise UsageError(f"{origin}: not a presence calibration (unknown weights {unknown} or not finite)")
        return cls(**weights)

    @classmethod
    def of_checkpoint(cls, directory: Path) -> "Calibration":
        """The one that stands beside the checkpoint, else the defaults. Raises UsageError if it is damaged."""
        file = directory / CALIBRATION_FILE
        return cls.from_json(file.read_text(encoding="utf-8"), origin=str(file)) if file.is_file() else cls()


def presence_evidence(yes_probability: float | None, tracks: "Sequence[TrackEvidence | None]") -> PresenceEvidence:
    """Evidence for one expression.

    Args:
        yes_probability: Of "yes" against "no"; ``None`` where the question was not asked.
        tracks: Of each object of the reply; empty if it named none.
    """
    known = [track for track in tracks if track is not None]
    best = max(known, key=lambda track: track.predicted_iou, default=None)
    return PresenceEvidence(
        yes=0.0 if yes_probability is None else log_odds(yes_probability),
        named=float(bool(tracks)),
        predicted_iou=best.predicted_iou if best else 0.0,
        object_presence=best.presence if best else 0.0,
        agreement=best.agreement if best else 0.0,
    )


def log_odds(probability: float) -> float:
    """Log-odds of a probability, cut at -8 and 8."""
    edge = 1 / (1 + math.exp(_LONGEST_ODDS))
    clipped = min(max(probability, edge), 1 - edge)
    return math.log(clipped / (1 - clipped))
