"""What every worker of a run is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.config import RunConfig
from pipeline.dataset.writer import DatasetWriter
from pipeline.engine.guard import Patience
from pipeline.model.checkpoint.locate import PinnedModel
from pipeline.model.presence import Calibration
from pipeline.video.frames import FrameSelection, VideoLimits

if TYPE_CHECKING:
    import torch

SMALL_IMAGE = 256
"""Pixels; the published networks see 448 and 1024."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """A run's configuration plus what the driver found out for its workers."""

    config: RunConfig
    model: PinnedModel
    """What the worker loads; its node has it, or fetches it."""
    threads: int | None = None
    """CPU threads of one worker; ``None`` leaves the default."""
    on_cpu: frozenset[str] = frozenset()
    """Stages without a GPU. On a node that has some they see them all, since Ray hides none from them."""

    calibration: Calibration | None = None
    """Weights of the evidence for presence; ``None`` takes the checkpoint's own."""

    writer: DatasetWriter | None = None
    """Where rows are committed."""

    software: Mapping[str, str] = field(default_factory=dict)
    """What every worker has to run, as the driver does: see :func:`pipeline.engine.software.check_software`."""

    patience: Patience = field(default_factory=Patience)
    """How long to wait for machines and storages that are in trouble."""

    def device(self, stage: str) -> "torch.device":
        """Where the workers of a stage compute."""
        import torch

        from pipeline.engine.given_gpu import device_of_worker

        return torch.device("cpu") if stage in self.on_cpu else device_of_worker()

    def use_threads(self, image_size: int) -> None:
        """Set PyTorch's CPU threads for a network that sees squares of this side.

        The operations of a small network are shorter than handing parts of them to other threads and waiting for those.
        """
        import torch

        if image_size <= SMALL_IMAGE:
            torch.set_num_threads(1)
        elif self.threads:
            torch.set_num_threads(self.threads)

    def selection(self, frames: tuple[str, ...] | None) -> FrameSelection:
        """Which frames of a video to use."""
        return FrameSelection(frames=frames, frame_stride=self.config.frame_stride, max_frames=self.config.max_frames)

    def limits(self) -> VideoLimits:
        """What a video may be."""
        return VideoLimits(max_side=self.config.max_side)
