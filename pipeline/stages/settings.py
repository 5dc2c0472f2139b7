"""What every worker of a run is told."""

from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.model.locate import PinnedModel
from pipeline.video.frames import FrameSelection, VideoLimits


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """A run's configuration plus what the driver found out for its workers."""

    config: RunConfig
    model: PinnedModel
    """What the worker loads; its node has it, or fetches it."""
    threads: int | None = None
    """CPU threads of one worker; none leaves the default."""

    def selection(self, frames: tuple[str, ...] | None) -> FrameSelection:
        """Which frames of a video to use."""
        return FrameSelection(frames=frames, frame_stride=self.config.frame_stride, max_frames=self.config.max_frames)

    def limits(self) -> VideoLimits:
        """What a video may be."""
        return VideoLimits(max_side=self.config.max_side)
