"""Clips become pictures: per video the grounds, shared by its expressions, and per item the masks to lay over them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.dataset.video_frames import VideoFrames
from pipeline.errors import VideoError
from pipeline.masks import decode_mask
from pipeline.report.charts import percent
from pipeline.report.clips import Clip
from pipeline.report.collect import Key
from pipeline.report.pictures import frame_picture, mask_picture, small_size, truth_picture
from pipeline.report.truth import Truth
from pipeline.storage import scrub

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FramePictures:
    """A video's frames as pictures."""

    frames: dict[str, str] = field(default_factory=dict)
    """Base64 of a WebP by frame name; without those that could not be read."""
    problem: str | None = None
    """Why pictures are missing."""


@dataclass(frozen=True, kw_only=True)
class DrawnFrame:
    """One frame of an item."""

    name: str
    mask: str | None
    """Base64 of a PNG; None without a mask."""
    truth: str | None
    caption: str
    """What is to be seen, for those who do not see it."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One item."""

    frames: list[DrawnFrame]
    height: int
    width: int
    """Width and height of the small pictures, in pixels."""


def draw_frame_pictures(clips: Mapping[Key, Clip], video_frames: VideoFrames) -> dict[str, FramePictures]:
    """Read every video once, only the frames wanted, and make small pictures of them."""
    wanted: dict[str, list[Clip]] = {}
    for (video_id, _), clip in clips.items():
        wanted.setdefault(video_id, []).append(clip)
    return {video_id: _ground(video_id, of_video, video_frames) for video_id, of_video in wanted.items()}


def _ground(video_id: str, clips: Sequence[Clip], video_frames: VideoFrames) -> FramePictures:
    names = list(dict.fromkeys(name for clip in clips for name in clip.frames))
    frames: dict[str, str] = {}
    try:
        pictures = video_frames.read(video_id, names, (clips[0].height, clips[0].width))
        for name, frame in zip(names, pictures, strict=True):
            frames[name] = frame_picture(frame)
    except VideoError as error:
        logger.info("video %r: %s", video_id, error)
        return FramePictures(frames=frames, problem=scrub(str(error)))
    return FramePictures(frames=frames)


def draw_item(key: Key, clip: Clip, truth: Truth | None) -> Drawing:
    """The masks of one item, and the true ones where there is ground truth. A damaged mask is left out and named."""
    height, width = small_size(clip.height, clip.width)
    frames = [_frame(key, clip, index, truth) for index in range(len(clip.frames))]
    return Drawing(frames=frames, height=height, width=width)


def _frame(key: Key, clip: Clip, index: int, truth: Truth | None) -> DrawnFrame:
    masks, words = [], []
    for track in clip.tracks:
        rle = track.masks[index]
        name = f"object {track.object_id}" if len(clip.tracks) > 1 else "mask"
        presence = f", presence {track.presence[index]:.2f}" if index < len(track.presence) else ""
        if rle is None:
            words.append(f"no {name}{presence}")
            continue
        try:
            if list(rle["size"]) != [clip.height, clip.width]:
                raise ValueError(f"is of another size, {rle['size']}")
            mask = decode_mask(rle)
        except ValueError as error:
            words.append(f"{name} is damaged ({error})")
            continue
        masks.append((track.object_id, mask))
        words.append(f"{name} on {percent(float(mask.mean()))} of the picture{presence}")
    true = truth.mask(key, clip.frames[index]) if truth is not None else None
    return DrawnFrame(
        name=clip.frames[index],
        mask=mask_picture(masks) if masks else None,
        truth=truth_picture(true) if true is not None and true.any() else None,
        caption="; ".join(words),
    )
