"""The first half of the work on a video: its keyframes and expressions to answers and prompt vectors."""

from collections.abc import Sequence

from pipeline.model.grounder import Grounder, Grounding
from pipeline.model.procedure import Procedure, keyframes_of
from pipeline.video.frames import FrameSource


def ground_video(
    grounder: Grounder,
    source: FrameSource,
    expressions: Sequence[str],
    procedure: Procedure,
    num_keyframes: int,
    *,
    presence_question: str | None = None,
) -> list[Grounding]:
    """Answers and prompt vectors for every expression of one video (or image).

    Raises:
        VideoError: a keyframe cannot be read.
    """
    config = grounder.config
    keyframes = keyframes_of(source, procedure, num_keyframes)
    pictures = config.family.read_pictures(source, keyframes, config, resize_on=grounder.resizes_on)
    return grounder.ground(
        pictures, expressions, question_form=procedure.question_form, presence_question=presence_question
    )
