"""The masks of the items that are shown, a few frames of each."""

from collections.abc import Collection
from dataclasses import dataclass, field

from pipeline.dataset.reader import MaskDataset
from pipeline.report.collect import Key
from pipeline.report.sample import spread
from pipeline.schema import Rle


@dataclass(frozen=True, kw_only=True)
class Track:
    """One object in the frames chosen."""

    object_id: int
    masks: list[Rle | None]
    presence: list[float]
    """SAM 2's confidence per frame that the object is there; empty where the row has none."""


@dataclass(kw_only=True)
class Clip:
    """One (video, expression) in the frames chosen."""

    frames: list[str]
    """Their names, in order."""
    height: int
    width: int
    tracks: list[Track] = field(default_factory=list)


def read_clips(
    url: str,
    keys: Collection[Key],
    frames: int,
    *,
    rejected: Collection[Key] = (),
    allow_missing: bool = False,
) -> dict[Key, Clip]:
    """Read evenly spread frames of some items; failed ones have none and are left out.

    Rows come one by one and are cut down at once, so memory holds ``frames`` masks an object, however long videos are.

    Args:
        url: The dataset.
        keys: The items wanted.
        frames: Frames of each, at most.
        rejected: Items that get no masks.
        allow_missing: Leave out items whose rows do not read back.

    Raises:
        DamagedDatasetError: Rows do not read back, and ``allow_missing`` is off.
    """
    clips: dict[Key, Clip] = {}
    columns = ("video_id", "expression_id", "object_id", "height", "width", "frames", "masks", "scores")
    dataset = MaskDataset(url, video_ids=sorted({video_id for video_id, _ in keys}), skip_damaged=allow_missing)
    for row in dataset.iter_rows(columns):
        key = (row["video_id"], row["expression_id"])
        if key not in keys or not row["frames"] or not row["height"] or not row["width"]:
            continue
        where = spread(len(row["frames"]), frames)
        clip = clips.setdefault(
            key,
            Clip(frames=[row["frames"][index] for index in where], height=row["height"], width=row["width"]),
        )
        masks, presence = (row[name] or [] for name in ("masks", "scores"))
        if key in rejected:
            masks = []
        track = Track(
            object_id=row["object_id"],
            masks=[masks[index] if index < len(masks) else None for index in where],
            presence=[presence[index] for index in where if index < len(presence)],
        )
        clip.tracks.append(track)
    return clips
