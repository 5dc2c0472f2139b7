"""A small benchmark with every trap of the formats, its ground truth as a dataset of ours, and submissions of it."""

import json

import numpy as np

from pipeline.dataset import DatasetWriter, areas_and_bboxes, encode_masks
from pipeline.schema import MaskRow

SIZES = {"v0aa": (24, 36), "v1bb": (30, 20)}
FRAMES = {"v0aa": ["00000", "00005", "00010"], "v1bb": ["00007", "00008"]}  # need not start at 0, need not be dense


def draw(video_id):
    """Two overlapping objects that move; the second is absent in the last frame."""
    height, width = SIZES[video_id]
    masks = np.zeros((2, len(FRAMES[video_id]), height, width), bool)
    for frame in range(len(FRAMES[video_id])):
        masks[0, frame, 2:14, 1 + frame : 12 + frame] = True
        masks[1, frame, 8:20, 6 : 16 + frame] = True
    masks[1, -1] = False
    return masks


EXPRESSIONS = {
    "v0aa": {"0": ("the one", [0]), "1": ("both", [0, 1]), "2": ("nothing like it", []), "10": ("the other", [1])},
    "v1bb": {"0": ("Élan, “quoted”", [1])},
}


def write_benchmark(folder):
    """MeViS's layout: meta_expressions.json and mask_dict.json."""
    folder.mkdir(parents=True)
    videos, mask_dict = {}, {}
    for offset, video_id in enumerate(EXPRESSIONS):
        for number, masks in enumerate(draw(video_id)):
            mask_dict[str(10 * offset + number)] = encode_masks(masks)
        expressions = {
            key: {"exp": text, "obj_id": objects, "anno_id": [10 * offset + number for number in objects]}
            for key, (text, objects) in EXPRESSIONS[video_id].items()
        }
        videos[video_id] = {"frames": FRAMES[video_id], "expressions": expressions}
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    (folder / "mask_dict.json").write_text(json.dumps(mask_dict))
    return folder


def mask_row(video_id, expression_id, text, masks, *, object_id=0, frames=None, **changes):
    """A row of the dataset from masks [T, H, W]."""
    rles = encode_masks(masks)
    areas, boxes = areas_and_bboxes(rles)
    values = {
        "video_id": video_id,
        "expression_id": expression_id,
        "expression": text,
        "object_id": object_id,
        "status": "ok" if masks.any() else "no_object",
        "answer": "Sure, [SEG].",
        "height": masks.shape[1],
        "width": masks.shape[2],
        "frames": list(frames or FRAMES[video_id]),
        "keyframes": [0],
        "masks": rles,
        "areas": areas,
        "bboxes": boxes,
        "scores": [0.5] * len(rles),
        "score": 0.5,
    }
    return MaskRow(**{**values, **changes})


def truth_rows(video_id):
    """The ground truth as if the model had found it: one row per expression, the union of its objects."""
    masks = draw(video_id)
    return [
        mask_row(video_id, key, text, np.logical_or.reduce([*masks[objects], np.zeros_like(masks[0])]))
        for key, (text, objects) in EXPRESSIONS[video_id].items()
    ]


def write_dataset(folder, rows_of_videos):
    (folder / "masks").mkdir(parents=True)
    for rows in rows_of_videos:
        DatasetWriter(str(folder)).commit(rows)
    return str(folder)
