"""Draw the clips of ``sa2va-i demo`` with their sentences and true masks, into the package's own folder.

The clips and sentences were chosen by looking at what the small model makes of them. Two of the sentences name what is
not there: to one it answers "No such object.", to the other it makes a mask, whose presence is low.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli.program import run_command
from pipeline.workshop.shapes.benchmark import ShapeVideo, make_video, object_rles
from pipeline.workshop.shapes.demo import write_mp4

PROGRAM = "python -m pipeline.workshop.demo_clips"
FRAMES = 20
CLIPS = {
    "triangles": (
        12,
        (
            "the white object",
            "the thing that enters late",
            "both triangles",
            "the orange circle",
        ),
    ),
    "red": (14, ("the large thing at the top", "the large shape that goes left", "both red triangles")),
    "stars": (
        17,
        (
            "the shape that goes around in a circle",
            "the star to the right of the yellow square",
            "the small yellow thing",
            "both small red shapes",
        ),
    ),
}
"""Name of a clip -> seed of its world, and the sentences that are asked."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options."""

    output: str = "pipeline/demo"
    """Folder to write."""


def draw(name: str) -> ShapeVideo:
    """A clip with its chosen sentences."""
    seed, sentences = CLIPS[name]
    video = make_video(
        name,
        seed=seed * 100_003,
        split="test",
        height_width=(192, 256),
        num_frames=(FRAMES, FRAMES),
        expressions=100,
    )
    by_text = {expression.text: expression for expression in video.expressions}
    return ShapeVideo(name, video.frames, video.owner, video.num_objects, [by_text[text] for text in sentences])


def run(options: Options) -> int:
    """Write clips, manifest and ground truth (MeViS's files)."""
    folder = Path(options.output)
    manifest: list[dict[str, str]] = []
    meta: dict[str, object] = {}
    masks: dict[str, object] = {}
    for name in CLIPS:
        video = draw(name)
        write_mp4(folder / f"{name}.mp4", video.frames, crf=24)
        first = len(masks)
        masks |= {str(first + index): object_rles(video.owner, index) for index in range(video.num_objects)}
        expressions = {}
        for index, expression in enumerate(video.expressions):
            row = {"video_id": name, "video": f"{name}.mp4", "expression_id": str(index), "expression": expression.text}
            manifest.append(row)
            annotated = [first + target for target in expression.targets]
            expressions[str(index)] = {"exp": expression.text, "obj_id": list(expression.targets), "anno_id": annotated}
        meta[name] = {"frames": video.frame_names, "expressions": expressions}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in manifest), encoding="utf-8")
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": meta}) + "\n", encoding="utf-8")
    (folder / "mask_dict.json").write_text(json.dumps(masks, separators=(",", ":")) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
