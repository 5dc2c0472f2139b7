"""The world of shapes as files: a benchmark tree in MeViS's layout, which every command reads unchanged."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from pipeline.schema import Rle
from pipeline.workshop.shapes.grammar import ShapeExpression, describe
from pipeline.workshop.shapes.render import render
from pipeline.workshop.shapes.scene import frame_times, sample_scenes
from pipeline.workshop.shapes.vocabulary import KINDS, Split

SIZES = ((192, 256), (192, 192), (160, 208))
"""Height and width of the clips, in turn."""


@dataclass(frozen=True)
class ShapeVideo:
    """One finished clip."""

    video_id: str
    frames: npt.NDArray[np.uint8]
    """[T, H, W, 3] RGB."""
    owner: npt.NDArray[np.uint8]
    """[T, H, W]: 0 background, k + 1 object k."""
    num_objects: int
    expressions: list[ShapeExpression]

    @property
    def frame_names(self) -> list[str]:
        """``00000``, ``00001``, ..."""
        return [f"{index:05d}" for index in range(len(self.frames))]


def make_video(
    video_id: str,
    *,
    seed: int,
    split: Split,
    height_width: tuple[int, int],
    num_frames: tuple[int, int],
    expressions: int,
) -> ShapeVideo:
    """Render one clip and choose its expressions, as many kinds as possible.

    Args:
        video_id: Name of the clip.
        seed: Same seed and split, same clip.
        split: ``test`` clips hold a colour x shape x motion that training clips never hold.
        height_width: Pixels.
        num_frames: Least and greatest number of frames.
        expressions: At most this many, all different.
    """
    height, width = height_width
    scenes = sample_scenes(1, seed=seed, split=split, num_frames=num_frames, aspect=width / height)
    clip = render(scenes, frame_times(int(scenes.num_frames[0])), height, width)
    frames = (clip.frames[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    owner = clip.owner[0].numpy()
    chosen = _choose(describe(scenes)[0], expressions, random.Random(seed))
    return ShapeVideo(video_id, frames, owner, int(scenes.exists[0].sum()), chosen)


def write_benchmark(
    directory: Path,
    *,
    num_videos: int,
    seed: int,
    split: Split = "test",
    num_frames: tuple[int, int] = (16, 40),
    expressions_per_video: int = 6,
    sizes: tuple[tuple[int, int], ...] = SIZES,
) -> None:
    """Write ``num_videos`` clips as ``JPEGImages/``, ``meta_expressions.json`` and ``mask_dict.json``.

    ``kinds.json`` beside them tells each expression's kind: ``{video: {expression id: kind}}``. Files that exist are
    overwritten. The same arguments write the same bytes.
    """
    videos = (
        make_video(
            f"{split}-{seed}-{index:04d}",
            seed=seed * 100_003 + index,
            split=split,
            height_width=sizes[index % len(sizes)],
            num_frames=num_frames,
            expressions=expressions_per_video,
        )
        for index in range(num_videos)
    )
    tree = BenchmarkTree(directory)
    for video in videos:
        tree.add(video)
    tree.finish()


class BenchmarkTree:
    """Collects clips into a tree; nothing but pixels is on disk before :meth:`finish`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._meta: dict[str, object] = {}
        self._kinds: dict[str, dict[str, str]] = {}
        self._masks: dict[str, list[Rle | None]] = {}

    def add(self, video: ShapeVideo) -> None:
        """Write the frames of a clip and remember its sentences and masks."""
        folder = self.directory / "JPEGImages" / video.video_id
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in zip(video.frame_names, video.frames, strict=True):
            Image.fromarray(frame).save(folder / f"{name}.jpg", quality=95, subsampling=0)
        first = len(self._masks)
        for index in range(video.num_objects):
            self._masks[str(first + index)] = object_rles(video.owner, index)
        self._meta[video.video_id] = {
            "frames": video.frame_names,
            "expressions": {
                str(i): {"exp": e.text, "obj_id": list(e.targets), "anno_id": [first + target for target in e.targets]}
                for i, e in enumerate(video.expressions)
            },
        }
        self._kinds[video.video_id] = {str(i): e.kind for i, e in enumerate(video.expressions)}

    def finish(self) -> None:
        """Write the JSON files."""
        for name, content in (
            ("meta_expressions.json", {"videos": self._meta}),
            ("mask_dict.json", self._masks),
            ("kinds.json", self._kinds),
        ):
            (self.directory / name).write_text(json.dumps(content) + "\n", encoding="utf-8")


def object_rles(owner: npt.NDArray[np.uint8], index: int) -> list[Rle | None]:
    """Visible mask of one object per frame; ``None`` where nothing of it can be seen."""
    rles: list[Rle | None] = []
    for frame in owner:
        mask = frame == index + 1
        if not mask.any():
            rles.append(None)
            continue
        encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        rles.append({"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode("ascii")})
    return rles


def _choose(found: list[ShapeExpression], count: int, rng: random.Random) -> list[ShapeExpression]:
    """One of each kind in turn, kinds in random order, until there are enough."""
    by_kind: dict[str, list[ShapeExpression]] = {kind: [] for kind in KINDS}
    for expression in found:
        by_kind[expression.kind].append(expression)
    kinds = [kind for kind in KINDS if by_kind[kind]]
    rng.shuffle(kinds)
    chosen: list[ShapeExpression] = []
    while len(chosen) < min(count, len(found)):
        for kind in kinds:
            if by_kind[kind] and len(chosen) < count:
                chosen.append(by_kind[kind].pop())
    return chosen
