"""How long each stage of the training is, and on how much at a time."""

from dataclasses import dataclass

STAGES = ("encoder", "vision", "language", "tracking", "following", "decoding", "prompting", "presence")
"""In their order; the command line names them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Lengths and batch sizes; the defaults are those of the checkpoint in the repository."""

    encoder_steps: int = 2200
    encoder_clips: int = 16
    vision_steps: int = 2600
    vision_clips: int = 16
    language_steps: int = 2100
    language_guided_from: int = 100
    """Step from which [SEG] is told where to look: before, image tokens do not know what they show."""
    language_clips: int = 12
    language_expressions: int = 6
    tracking_steps: int = 3900
    tracking_clips: int = 6
    tracking_objects: int = 3
    following_steps: int = 3850
    following_clips: int = 4
    following_objects: int = 3
    decoding_steps: int = 3000
    decoding_clips: int = 8
    decoding_targets: int = 4
    decoding_guided_until: float = 0.5
    """Share of the steps after which nobody tells the decoder any more where to look."""
    prompting_steps: int = 1800
    prompting_clips: int = 8
    prompting_expressions: int = 4
    presence_steps: int = 4800
    presence_clips: int = 10
    presence_expressions: int = 6
    presence_heads_alone: int = 150
    """Steps in which only the fresh helper heads are trained, so that they do not disturb the model."""
    validation_clips: int = 100

    @classmethod
    def short(cls) -> "Plan":
        """A few steps of everything: shows that training runs, not that it learns."""
        return cls(
            encoder_steps=4, encoder_clips=2, vision_steps=4, vision_clips=2,
            language_steps=4, language_clips=2, language_expressions=2,
            tracking_steps=3, tracking_clips=1, tracking_objects=2,
            following_steps=2, following_clips=1, following_objects=2,
            decoding_steps=4, decoding_clips=2, decoding_targets=2,
            prompting_steps=3, prompting_clips=2, prompting_expressions=2,
            presence_steps=3, presence_clips=2, presence_expressions=2, presence_heads_alone=1, validation_clips=2,
        )  # fmt: skip
