"""The three choices in which Sa2VA-i differs from Sa2VA, each a switch of its own."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError
from pipeline.video.keyframes import first_keyframes, uniform_keyframes

MAX_OBJECTS_PER_EXPRESSION = 20
"""Objects that one expression may name. A reply that loops would otherwise give hundreds of tracks."""


@dataclass(frozen=True, kw_only=True)
class Procedure:
    """How masks are made from prompts (paper arXiv 2509.19082, table of improvements)."""

    keyframes: Literal["uniform", "first"] = "uniform"
    """Which frames the language model sees: spread over the video, or its first ones."""
    handover: Literal["masks", "logits"] = "masks"
    """How keyframe masks enter propagation: thresholded, as mask prompts; or as the decoder's raw logits."""
    propagation_decoder: Literal["original", "finetuned"] = "original"
    """Which mask decoder tracks."""

    @property
    def question_form(self) -> bool:
        """Whether an expression with a question mark is put as a question, as the released models' evaluation does."""
        return self == SA2VA

    def sample(self, num_frames: int, count: int) -> list[int]:
        """Keyframe indices of a video, in time order, with the repetitions the reference has."""
        return (uniform_keyframes if self.keyframes == "uniform" else first_keyframes)(num_frames, count)


SA2VA_I = Procedure()
SA2VA = Procedure(keyframes="first", handover="logits", propagation_decoder="finetuned")
PROCEDURES = {"sa2va-i": SA2VA_I, "sa2va": SA2VA}


def procedure_named(name: str) -> Procedure:
    """The published procedure of that name, or a :class:`UsageError`."""
    if name not in PROCEDURES:
        raise UsageError(f"procedure {name!r} is not known (known: {', '.join(PROCEDURES)})")
    return PROCEDURES[name]
