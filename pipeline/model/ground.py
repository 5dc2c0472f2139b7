"""The first half of the work on a video: its keyframes and expressions to answers and prompt vectors."""

from collections.abc import Sequence

import numpy as np

from pipeline.model.grounder import Grounder, Grounding
from pipeline.model.procedure import Procedure
from pipeline.model.tiles import image_tiles
from pipeline.video.frames import FrameSource


def keyframes_of(source: FrameSource, procedure: Procedure, count: int) -> list[int]:
    """Distinct keyframe indices of a video, ascending."""
    return sorted(set(procedure.sample(len(source), count)))


def ground_video(
    grounder: Grounder, source: FrameSource, expressions: Sequence[str], procedure: Procedure, num_keyframes: int
) -> list[Grounding]:
    """Answers and prompt vectors for every expression of one video (an image goes in as tiles).

    Raises:
        VideoError: a keyframe cannot be read.
    """
    if source.is_image:
        tiles = image_tiles(next(source.read([0])), grounder.config)
        return grounder.ground(tiles, expressions, one_image=True)
    keyframes = keyframes_of(source, procedure, num_keyframes)
    frames = np.stack(list(source.read(keyframes, side=grounder.config.image_size)))
    return grounder.ground(frames, expressions)
