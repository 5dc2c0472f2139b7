"""The three choices in which Sa2VA-i differs from Sa2VA, each a switch of its own, and other choices of keyframes."""

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import UsageError
from pipeline.video.frames import FrameSource
from pipeline.video.keyframes import KeyframeChoice, first_keyframes, moved_keyframes, uniform_keyframes

MAX_OBJECTS_PER_EXPRESSION = 20
"""Objects that one expression may name. A reply that loops would otherwise give hundreds of tracks."""


@dataclass(frozen=True, kw_only=True)
class Procedure:
    """How masks are made from prompts (paper arXiv 2509.19082, table of improvements)."""

    keyframes: KeyframeChoice = "uniform"
    """Which frames the language model sees: spread over the video, its first ones, or denser towards its ends."""
    handover: Literal["masks", "logits"] = "masks"
    """How keyframe masks enter propagation: thresholded, as mask prompts; or as the decoder's raw logits."""
    propagation_decoder: Literal["original", "finetuned"] = "original"
    """Which mask decoder tracks."""
    keyframe_offset: float = 0.0
    """Keyframes that are spread are moved by this share of the space between two, all but the first."""
    keyframe_seed: int | None = None
    """And each by a random share from -0.5 to 0.5."""

    def __post_init__(self) -> None:
        if self.keyframes == "first" and (self.keyframe_offset or self.keyframe_seed is not None):
            raise UsageError("keyframe_offset and keyframe_seed move keyframes that are spread; the first ones are not")

    @property
    def question_form(self) -> bool:
        """Whether an expression with a question mark is put as a question, as the released models' evaluation does."""
        return self == SA2VA

    def sample(self, num_frames: int, count: int) -> list[int]:
        """Keyframe indices of a video, in time order, with the repetitions the reference has."""
        if self.keyframes == "first":
            return first_keyframes(num_frames, count)
        if self.keyframes == "uniform" and not self.keyframe_offset and self.keyframe_seed is None:
            return uniform_keyframes(num_frames, count)
        return moved_keyframes(
            num_frames,
            count,
            denser_ends=self.keyframes == "uniform+",
            offset=self.keyframe_offset,
            seed=self.keyframe_seed,
        )


SA2VA_I = Procedure()
SA2VA = Procedure(keyframes="first", handover="logits", propagation_decoder="finetuned")
PROCEDURES = {"sa2va-i": SA2VA_I, "sa2va": SA2VA}


def procedure_named(name: str) -> Procedure:
    """The published procedure of that name, or a :class:`UsageError`."""
    if name not in PROCEDURES:
        raise UsageError(f"procedure {name!r} is not known (known: {', '.join(PROCEDURES)})")
    return PROCEDURES[name]


def keyframes_of(source: FrameSource, procedure: Procedure, count: int) -> list[int]:
    """Distinct keyframe indices of a video, ascending."""
    return sorted(set(procedure.sample(len(source), count)))
