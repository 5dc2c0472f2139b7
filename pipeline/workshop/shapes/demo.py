"""A few short clips to try the whole pipeline on: folders of frames and video files, manifest, ground truth."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.workshop.shapes.benchmark import BenchmarkTree, make_video

_FRAMES_PER_SECOND = 8


def write_demo(
    directory: Path,
    num_videos: int = 4,
    seed: int = 11,
    *,
    num_frames: int = 16,
    height_width: tuple[int, int] = (192, 256),
    expressions_per_video: int = 4,
) -> Path:
    """Write demo clips and return the manifest's path.

    ``directory`` receives ``manifest.jsonl`` (one line per clip and expression; every fourth clip, the last one at
    least, is an ``.mp4`` under ``videos/``, the others are folders under ``JPEGImages/``) and, as ground truth for all
    of them, a MeViS tree: ``JPEGImages/``, ``meta_expressions.json``, ``mask_dict.json``.
    """
    tree = BenchmarkTree(directory)
    lines = []
    for index in range(num_videos):
        video = make_video(
            f"clip{index}",
            seed=seed * 100_003 + index,
            split="test",
            height_width=height_width,
            num_frames=(num_frames, num_frames),
            expressions=expressions_per_video,
        )
        tree.add(video)
        place = f"JPEGImages/{video.video_id}"
        if index % 4 == 3 or index == num_videos - 1:
            place = f"videos/{video.video_id}.mp4"
            write_mp4(directory / place, video.frames)
        lines += [
            {"video_id": video.video_id, "video": place, "expression_id": str(i), "expression": e.text}
            for i, e in enumerate(video.expressions)
        ]
    tree.finish()
    manifest = directory / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return manifest


def write_mp4(path: Path, frames: npt.NDArray[np.uint8], *, crf: int = 10) -> None:
    """Encode frames [T, H, W, 3] (even sides) as H.264; a larger ``crf`` makes smaller files."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FRAMES_PER_SECOND)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast" if crf <= 10 else "veryslow"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
