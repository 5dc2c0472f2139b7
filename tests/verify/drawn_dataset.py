"""Two videos of squares as folders of pictures, a manifest of them, and a dataset of masks, some of them wrong."""

import json

import numpy as np
from PIL import Image

from pipeline.dataset import DatasetWriter, areas_and_bboxes, encode_masks
from pipeline.schema import MaskRow

HEIGHT, WIDTH, FRAMES = 60, 80, 6
LEFT, RIGHT = 8, 48
"""Where the two squares of every video begin, in the first frame; they go 2 pixels to the right a frame."""
SIDE = 20
RIGHT_ANSWERS = {("a", "0"): True, ("a", "1"): False, ("a", "2"): False, ("b", "0"): True, ("b", "1"): True}
"""Whether the dataset's mask is what the expression says, or, without a mask, whether that is there."""


def square(start: int, frame: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[20 : 20 + SIDE, start + 2 * frame : start + 2 * frame + SIDE] = True
    return mask


def track(start: int) -> np.ndarray:
    return np.stack([square(start, frame) for frame in range(FRAMES)])


def row(video_id: str, expression_id: str, expression: str, masks: np.ndarray, **changes) -> MaskRow:
    rles = encode_masks(masks)
    areas, bboxes = areas_and_bboxes(rles)
    return MaskRow(
        video_id=video_id,
        expression_id=expression_id,
        expression=expression,
        **{
            "status": "ok" if masks.any() else "no_object",
            "answer": "Sure, [SEG].",
            "height": HEIGHT,
            "width": WIDTH,
            "frames": [f"{frame:05d}" for frame in range(FRAMES)],
            "keyframes": [0, 2, 4],
            "masks": rles,
            "areas": areas,
            "bboxes": bboxes,
            "scores": [0.5] * FRAMES,
            "score": 0.5,
            **changes,
        },
    )


def rows() -> dict[str, list[MaskRow]]:
    nothing = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    return {
        "a": [
            row("a", "0", "the left square", track(LEFT)),
            row("a", "1", "the right square", track(LEFT)),  # the wrong one is outlined
            row("a", "2", "the circle", nothing),  # rightly nothing
            MaskRow(video_id="a", expression_id="3", expression="x", status="failed", error="VideoError: x"),
        ],
        "b": [
            row("b", "0", "the left square", track(LEFT)),
            row("b", "1", "the right square", nothing),  # wrongly nothing
        ],
    }


def write(folder):
    """A dataset with its manifest; returns the dataset's folder."""
    lines = []
    for video_id, listed in rows().items():
        frames = folder / "videos" / video_id
        frames.mkdir(parents=True)
        for frame in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            picture[square(LEFT, frame)] = (30, 60, 200)
            picture[square(RIGHT, frame)] = (30, 200, 60)
            Image.fromarray(picture).save(frames / f"{frame:05d}.png")
        lines += [
            {"video_id": video_id, "video": str(frames), "expression_id": r.expression_id, "expression": r.expression}
            for r in listed
        ]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset = folder / "dataset"
    (dataset / "masks").mkdir(parents=True)
    for listed in rows().values():
        DatasetWriter(str(dataset)).commit(listed)
    (dataset / "run.json").write_text(json.dumps({"configuration": {"manifest": str(manifest)}, "state": "finished"}))
    return dataset


def red_box(picture: np.ndarray) -> tuple[int, int, int, int] | None:
    """First and last row and column of the red line; None without one."""
    red = (picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] < 90)
    if not red.any():
        return None
    y, x = np.nonzero(red)
    return int(y.min()), int(y.max()), int(x.min()), int(x.max())
