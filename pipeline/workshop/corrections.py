"""What one corrected mask gives: failing tracks before and after `annotate --masks`.

Draws the held-out clips that the model's card reports, annotates them, takes the first tracks of one object whose J is
below a limit, gives each its true mask on the one frame that shows the object largest, lets SAM 2 carry it through the
video, and prints J of every track before and after, over all frames and over those without a given mask.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from pipeline.cli.program import run_command
from pipeline.config import RunConfig
from pipeline.dataset.reader import MaskDataset, mask_row
from pipeline.engine import cluster
from pipeline.errors import UsageError
from pipeline.evaluation.region_boundary import region_similarity
from pipeline.masks import decode_masks, encode_masks
from pipeline.schema import MaskRow, Status
from pipeline.settings import CheckedSettings, Option, at_least, between
from pipeline.versions import Action, Edit, EditFile, make_version
from pipeline.workshop.nano.card import FRAMES, SEED
from pipeline.workshop.nano.validation import ShapesBenchmark
from pipeline.workshop.shapes.benchmark import write_benchmark

PROGRAM = "python -m pipeline.workshop.corrections"
Key = tuple[str, str]
"""``(video_id, expression_id)``."""


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    output: Annotated[str, Option("DIR")]
    """Receives clips, datasets, corrections.json and table.md; started again, it goes on."""
    model: str = "nano"
    """The included small model (nano), or the checkpoint of a training of your own."""
    videos: Annotated[int, at_least(1), Option("N")] = 64
    """Clips to draw."""
    failures: Annotated[int, at_least(1), Option("N")] = 20
    """Tracks to correct."""
    below: Annotated[float, between(0, 1), Option("J")] = 0.5
    """A track fails whose J is below this."""
    address: str | None = None
    """Ray cluster to join (default: RAY_ADDRESS, one on this machine, or a new one)."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """One track; J is the mean over frames.

    Attributes:
        frame: Index of the frame with the given mask.
        before, after: J over all frames.
        after_elsewhere: J over the other frames.
    """

    video_id: str
    expression_id: str
    expression: str
    frame: int
    before: float
    after: float
    after_elsewhere: float


def run(options: Options) -> int:
    """Draw, annotate, correct, propagate, score, print."""
    cluster.prepare(options.address)
    from pipeline.run import annotate

    output = Path(options.output)
    clips = output / f"held-out-{options.videos}"
    if not (clips / "meta_expressions.json").exists():
        write_benchmark(clips, num_videos=options.videos, seed=SEED, split="test", num_frames=FRAMES)
    benchmark = ShapesBenchmark(clips)
    before, corrected, after = (str(output / name) for name in ("before", "corrected", "after"))
    manifest = str(clips / "meta_expressions.json")
    annotate(RunConfig(manifest=manifest, model=options.model, output=before), address=options.address)
    failing = dict(list(failing_tracks(benchmark, before, options.below))[: options.failures])
    if not failing:
        raise UsageError(f"no track of {options.videos} clips has a J below {options.below:g}; draw more with --videos")
    truths = {key: benchmark.truth(*key) for key in failing}
    given = {key: int(truth.sum((1, 2)).argmax()) for key, truth in truths.items()}
    edits = [_edit(row, truths[key], given[key]) for key, (row, _) in failing.items()]
    make_version(before, EditFile(edits), corrected)
    config = RunConfig(manifest=manifest, model=options.model, masks=corrected, output=after)
    annotate(config, address=options.address)
    videos = sorted({video_id for video_id, _ in failing})
    rows = {_key(row): row for row in map(mask_row, MaskDataset(after, video_ids=videos).iter_rows())}
    found = [_corrected(row, j, rows[key], truths[key], given[key]) for key, (row, j) in failing.items()]
    text = table(found)
    (output / "table.md").write_text(text + "\n", encoding="utf-8")
    (output / "corrections.json").write_text(json.dumps([asdict(item) for item in found], indent=1) + "\n")
    print(text)
    return 0


def failing_tracks(
    benchmark: ShapesBenchmark, dataset: str, below: float
) -> Iterator[tuple[Key, tuple[MaskRow, float]]]:
    """Tracks of expressions that name one object and were answered with one, in the order of ids, and their J."""
    rows: dict[Key, list[MaskRow]] = {}
    for row in map(mask_row, MaskDataset(dataset).iter_rows()):
        rows.setdefault(_key(row), []).append(row)
    for key in sorted(rows):
        names_one = len(benchmark.videos[key[0]]["expressions"][key[1]]["anno_id"]) == 1
        if names_one and len(rows[key]) == 1 and rows[key][0].status == Status.OK:
            j = float(_similarity(rows[key][0], benchmark.truth(*key)).mean())
            if j < below:
                yield key, (rows[key][0], j)


def table(found: list[Correction]) -> str:
    """A line for each track, and the means."""
    lines = ["| video | expression | given | J before | J after | on other frames |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {item.video_id} | {item.expression} | {item.frame} | {item.before:.3f} | {item.after:.3f} | "
        f"{item.after_elsewhere:.3f} |"
        for item in found
    ]
    means = (np.mean([getattr(item, name) for item in found]) for name in ("before", "after", "after_elsewhere"))
    lines.append(f"| mean of {len(found)} | | | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def _edit(row: MaskRow, truth: npt.NDArray[np.bool_], frame: int) -> Edit:
    """The correction of one row: its true mask on one frame."""
    (rle,) = encode_masks(truth[frame][None])
    return Edit(
        video_id=row.video_id,
        expression_id=row.expression_id,
        object_id=row.object_id,
        action=Action.MASKS,
        masks={row.frames[frame]: rle},
        where=f"{row.video_id} {row.expression_id}",
    )


def _corrected(before: MaskRow, j: float, after: MaskRow, truth: npt.NDArray[np.bool_], frame: int) -> Correction:
    similarity = _similarity(after, truth)
    return Correction(
        video_id=before.video_id,
        expression_id=before.expression_id,
        expression=before.expression,
        frame=frame,
        before=j,
        after=float(similarity.mean()),
        after_elsewhere=float(np.delete(similarity, frame).mean()),
    )


def _similarity(row: MaskRow, truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return region_similarity(truth, decode_masks(row.masks, *truth.shape[1:]))


def _key(row: MaskRow) -> Key:
    return row.video_id, row.expression_id


if __name__ == "__main__":
    sys.exit(run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__))
