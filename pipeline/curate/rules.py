"""What is kept of a dataset, and which of its videos are for validation."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pipeline.errors import UsageError
from pipeline.settings import NOT_NEGATIVE, CheckedSettings, Option, Rule, at_least, between

_NEWER = ("for_review", "against", "only_license", "exclude_license")
TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True, kw_only=True)
class Rules(CheckedSettings):
    """Which rows are kept."""

    min_score: Annotated[float, between(0, 1), Option("S")] = 0.0
    """Least score of a track, 0 to 1."""
    min_presence: Annotated[float, between(0, 1), Option("P")] = 0.0
    """Least probability that what the expression names is in the video; rows without one are kept."""
    only_license: Annotated[list[str], Option("TEXT")] | None = None
    """Keep only videos under this licence; may be repeated. Rows without a licence go."""
    exclude_license: Annotated[list[str], Option("TEXT")] | None = None
    """Leave out videos under this licence; may be repeated."""
    reject_below: Annotated[float, between(0, 1), Option("X")] | None = None
    """Expressions with a lower verdict (or, without one, presence) count as without an object, as
    `export --reject-below` answers them."""
    min_area: Annotated[float, NOT_NEGATIVE, Option("PX")] = 1.0
    """Least area of a track, in pixels, mean over the frames that show the object."""
    max_per_video: Annotated[int, at_least(1), Option("N")] | None = None
    """Keep at most this many tracks of a video, those with the highest score."""
    keep_duplicates: bool = False
    """Keep also tracks with the masks of another track of the video, and sentences that were asked twice."""
    keep_no_object: bool = False
    """Keep also expressions that the model found no object for (they have no score and no area)."""
    val_share: Annotated[
        float, Rule(lambda share: 0 <= share < 1, "a number of at least 0 and below 1"), Option("SHARE")
    ] = 0.0
    """Share of the videos that go into the validation split."""
    seed: int = 0
    """Another seed puts other videos into the validation split."""
    for_review: Annotated[int, at_least(1), Option("N")] | None = None
    """Of the rows that the other rules keep, only the N that are most worth a person's look; review.jsonl beside them
    says why, and is an edit file to be filled in."""
    against: Annotated[str, Option("OUT2")] | None = None
    """With --for-review: another run over the same videos; a row whose masks differ there is worth a look."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.against is not None and self.for_review is None:
            raise UsageError("--against is for --for-review")

    @property
    def keeps_no_object(self) -> bool:
        """Whether expressions without an object may be kept; among rows for review they may."""
        return self.keep_no_object or self.for_review is not None

    @property
    def rejects_below(self) -> float | None:
        """Presence below which masks are taken away; rows for review keep theirs, so that there is something to see."""
        return None if self.for_review is not None else self.reject_below

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
        """Every rule by its name; newer ones only where they are used, so that older selections stay the same."""
        rules = asdict(self)
        return {name: value for name, value in rules.items() if name not in _NEWER or value is not None}
