"""Many tiny videos for runs that are disturbed: 40 videos with 3 expressions each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.workshop.nano.untrained import write_untrained

VIDEOS, EXPRESSIONS, FRAMES = 40, ("the red circle", "the blue square", "what moves"), 6


def write_material(folder: Path) -> list[str]:
    """Draw the videos, write the manifest and a small checkpoint; returns arguments for jobs/annotate.py."""
    lines = []
    for number in range(VIDEOS):
        name = f"video{number:02d}"
        frames = folder / "videos" / name
        frames.mkdir(parents=True)
        picture = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
        for index in range(FRAMES):
            Image.fromarray(np.roll(picture, 3 * index, axis=1)).save(frames / f"{index:05d}.png")
        lines += [
            {"video_id": name, "video": f"videos/{name}", "expression_id": str(i), "expression": text}
            for i, text in enumerate(EXPRESSIONS)
        ]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = write_untrained(folder / "model")
    return ["--manifest", str(folder / "manifest.jsonl"), "--model", str(model), "--num-keyframes", "3"]
