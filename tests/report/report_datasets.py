"""Datasets to report on: drawn clips whose true masks, more or less spoiled, stand in for a model's."""

import json

import numpy as np

from pipeline.dataset import DatasetWriter, areas_and_bboxes, decode_masks, encode_masks
from pipeline.schema import MaskRow

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)> & \"quoted\" 'it' {{cards}}"
HOSTILE_ID = "../../up/<b>'or\"1\n\u202e"


def track_row(video_id, expression_id, expression, masks, *, object_id=0, frames=None, **changes):
    """A row from masks [T, H, W]."""
    rles = encode_masks(masks)
    areas, bboxes = areas_and_bboxes(rles)
    values = {
        "status": "ok",
        "answer": "Sure, [SEG].",
        "height": masks.shape[1],
        "width": masks.shape[2],
        "frames": list(frames) if frames else [f"{index:05d}" for index in range(len(masks))],
        "keyframes": [0],
        "masks": rles,
        "areas": areas,
        "bboxes": bboxes,
        "scores": [0.9 if area else 0.1 for area in areas],
        "score": 0.5,
        **changes,
    }
    return MaskRow(video_id=video_id, expression_id=expression_id, expression=expression, object_id=object_id, **values)


def failed_row(video_id, expression_id, expression, error):
    return MaskRow(video_id=video_id, expression_id=expression_id, expression=expression, status="failed", error=error)


def write_dataset(folder, rows_of_videos, run=None):
    (folder / "masks").mkdir(parents=True)
    for rows in rows_of_videos:
        DatasetWriter(str(folder)).commit(rows)
    if run is not None:
        (folder / "run.json").write_text(json.dumps(run))
    return str(folder)


def spoiled(masks, pixels):
    """The masks moved by some pixels to the right: the more, the worse their J&F."""
    moved = np.roll(masks, pixels, axis=2)
    moved[:, :, :pixels] = False
    return moved


def dataset_of_clips(folder, clips):
    """A dataset of the drawn clips with every status, two objects in one answer, and texts that mean harm."""
    meta = json.loads((clips / "meta_expressions.json").read_text())["videos"]
    truths = json.loads((clips / "mask_dict.json").read_text())
    height, width = next(rle["size"] for track in truths.values() for rle in track if rle)
    videos = []
    for number, (video_id, video) in enumerate(meta.items()):
        rows = []
        for index, (expression_id, expression) in enumerate(video["expressions"].items()):
            tracks = [truths[str(key)] for key in expression["anno_id"]]
            empty = np.zeros((len(video["frames"]), height, width), bool)
            masks = np.logical_or.reduce([empty, *(decode_masks(track, height, width) for track in tracks)])
            spoil = 4 * (2 * number + index)
            rows.append(
                track_row(
                    video_id,
                    expression_id,
                    expression["exp"],
                    spoiled(masks, spoil),
                    score=max(0.05, 1 - spoil / 40),
                    presence=0.1 + spoil / 40,
                )
            )
        videos.append(rows)
    masks = decode_masks(next(iter(truths.values())), height, width)
    first = next(iter(meta))
    videos[0] += [
        track_row(first, "two", "both of them", masks, score=0.9),
        track_row(first, "two", "both of them", spoiled(masks, 60), object_id=1, score=0.2),
        track_row(first, "none", "a unicorn", np.zeros_like(masks), status="no_object", score=None, answer="No."),
        track_row(first, "hostile", HOSTILE, masks, score=0.7, answer=HOSTILE),
    ]
    videos.append([failed_row("broken", "0", "the dog", "VideoError: /data/broken.mp4: is not a readable video")])
    videos.append([track_row(HOSTILE_ID, HOSTILE_ID, "an id that means harm", masks[:, :-1, :-1], score=0.6)])
    run = {
        "configuration": {"manifest": str(clips / "manifest.jsonl"), "num_keyframes": 5, "note": HOSTILE},
        "model": {"kind": "directory", "source": "/models/nano"},
        "timings": {"wall_seconds": 20.0},
        "this_run": {"videos": 4, "expressions": 11, "failed": 1, "frames": 40},
        "state": "finished",
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:20Z",
    }
    return write_dataset(folder, videos, run)
