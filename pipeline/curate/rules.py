"""What is kept of a dataset, and which of its videos are for validation."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import UsageError

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Which rows are kept. Field names are those of the command line."""

    min_score: float = 0.0
    """Least ``score`` of a track."""
    min_area: float = 1.0
    """Least area of a track: pixels, mean over the frames that show the object."""
    max_per_video: int | None = None
    """Keep at most this many tracks of a video, those with the highest score."""
    keep_duplicates: bool = False
    """Keep also tracks with the masks of another track of the video, and sentences that were asked twice."""
    keep_no_object: bool = False
    """Keep also expressions that the model found no object for (they have no score and no area)."""
    val_share: float = 0.0
    """Share of the videos that go into the validation split."""
    seed: int = 0
    """Another seed puts other videos there."""

    def __post_init__(self) -> None:
        for name, most in (("min_score", 1.0), ("min_area", float("inf"))):
            if not 0 <= getattr(self, name) <= most:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 0 to {most}")
        if not 0 <= self.val_share < 1:
            raise UsageError(f"val_share is {self.val_share}; it must be at least 0 and below 1")
        if self.max_per_video is not None and self.max_per_video < 1:
            raise UsageError(f"max_per_video is {self.max_per_video}; it must be at least 1")

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return (TRAIN, VALIDATION) if self.val_share else (TRAIN,)

    def split_of(self, video_id: str) -> str:
        """The split of a video; depends on nothing but its id, the share and the seed.

        A video that is for validation with one share is so with every larger one.
        """
        digest = hashlib.sha256(f"{self.seed}\n{video_id}".encode("utf-8", "surrogatepass")).digest()
        return VALIDATION if int.from_bytes(digest[:8]) < self.val_share * 2**64 else TRAIN

    def as_dict(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)
