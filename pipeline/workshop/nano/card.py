"""The model card beside the weights: how they were made and what they can do, measured and not polished."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.evaluation.parallel import map_tasks
from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure
from pipeline.model.sa2va import Sa2VA
from pipeline.workshop.nano.plan import STAGES, Plan
from pipeline.workshop.nano.track_validation import TRACKED_FRAMES
from pipeline.workshop.nano.validation import Mean, Score, ShapesBenchmark, by_kind, paired_gain
from pipeline.workshop.shapes.benchmark import write_benchmark

VIDEOS, SEED, FRAMES = 64, 1, (32, 40)
"""The held-out split the card reports."""

_CARD = """# Nano Sa2VA-i

A Sa2VA-i of a few million parameters in the published checkpoint layout, trained on nothing but drawn shapes. It is
for tests and demos: it knows the sentences of `pipeline/workshop/shapes/grammar.py` and nothing else.

## Held-out results

J&F in percent, mean ± standard error over expressions. {videos} clips of {frames} frames, {expressions} expressions,
seed {seed}; every clip holds a colour x shape x motion that training never shows.

{results}

`motion-hard` targets have a look-alike whose path crosses theirs. `none` has no target: what counts is an empty mask.
SAM 2 alone, from true masks on the first frame, follows objects of held-out clips over 40 frames at J {tracking:.1f}
({tracks} tracks in {clips} clips).

## Training

    python -m pipeline.workshop.nano --output DIR --evaluate

Stages that do not need each other can run side by side (`--stage`), and stopped ones go on where they were.

{stages}

Minutes are wall time of one thread, resumed runs added up. Plan: `{plan}`.

## Limits

Images and tiles were never trained. Words outside the grammar are bytes to it. Little tells look-alikes apart that
cross (`motion-hard`): one prompt vector serves all keyframes, and each keyframe is decoded alone.
"""

CHANCE = "chance (a random object's true mask)"

_STEPS: Mapping[str, tuple[Procedure, int]] = {
    "Sa2VA": (SA2VA, 5),
    "+ uniform keyframes": (Procedure(keyframes="uniform", handover="logits", propagation_decoder="finetuned"), 5),
    "+ first masks without memory": (
        Procedure(keyframes="uniform", handover="masks", propagation_decoder="finetuned"), 5,
    ),
    "+ original weights (Sa2VA-i)": (SA2VA_I, 5),
    "Sa2VA-i, 12 keyframes": (SA2VA_I, 12),
    "Sa2VA-i, one keyframe": (SA2VA_I, 1),
}  # fmt: skip


def evaluate(checkpoint: Path, split: Path, *, videos: int = VIDEOS, workers: int = 1) -> dict[str, list[Score]]:
    """Score the checkpoint on held-out clips under every procedure.

    Args:
        checkpoint: The model.
        split: Receives (or already holds) the clips.
        videos: Number of clips, where they are still to be drawn.
        workers: Procedures that are scored at a time, as Ray tasks if more than one.
    """
    if not (split / "kinds.json").is_file():
        write_benchmark(split, num_videos=videos, seed=SEED, split="test", num_frames=FRAMES)
    found = dict(map_tasks(_score_under, [(checkpoint, split, name) for name in _STEPS], workers))
    return {**{name: found[name] for name in _STEPS}, CHANCE: ShapesBenchmark(split).chance()}


def _score_under(checkpoint: Path, split: Path, name: str) -> tuple[str, list[Score]]:
    """One procedure, on one thread: a small network's operations are shorter than waiting for other threads."""
    import torch

    torch.set_num_threads(1)
    return name, ShapesBenchmark(split).score(Sa2VA.from_checkpoint(checkpoint), *_STEPS[name])


def comparison(scores: Mapping[str, Sequence[Score]]) -> str:
    """What the procedures gave, as Markdown: a table by kind of expression, and Sa2VA-i's gain over Sa2VA."""
    gain = paired_gain(scores["+ original weights (Sa2VA-i)"], scores["Sa2VA"])
    half = 1.96 * gain.standard_error
    return (
        f"{_results(scores)}\n\nSa2VA-i minus Sa2VA with the same weights, paired over {gain.count} answerable "
        f"expressions:\n{gain.mean:+.1f} points (95 % interval {gain.mean - half:+.1f} to {gain.mean + half:+.1f})."
    )


def write_card(checkpoint: Path, training: Path, plan: Plan, scores: Mapping[str, Sequence[Score]]) -> None:
    """Write ``README.md`` into ``checkpoint``.

    Args:
        checkpoint: The model.
        training: Directory with the stages' logs.
        plan: What was trained.
        scores: From :func:`evaluate`.
    """
    ours = scores["+ original weights (Sa2VA-i)"]
    following = _last_validation(training, "following")
    text = _CARD.format(
        videos=len({score.video_id for score in ours}),
        expressions=len(ours),
        frames=f"{FRAMES[0]} to {FRAMES[1]}",
        seed=SEED,
        results=comparison(scores),
        tracking=100 * following["J"],
        tracks=round(following["tracks"] / (TRACKED_FRAMES - 1)),
        clips=plan.validation_clips // 2,
        stages=_table(["stage", "steps", "minutes", "last validation"], [_stage_row(training, s) for s in STAGES]),
        plan=json.dumps(asdict(plan)),
    )
    (checkpoint / "README.md").write_text(text, encoding="utf-8")


def _results(scores: Mapping[str, Sequence[Score]]) -> str:
    means = {name: by_kind(values) for name, values in scores.items()}
    kinds = list(dict.fromkeys(kind for found in means.values() for kind in found))
    rows = [[kind, *(_cell(found.get(kind)) for found in means.values())] for kind in kinds]
    return _table(["kind", *means], rows)


def _cell(mean: Mean | None) -> str:
    return "-" if mean is None else str(mean)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _log(training: Path, stage: str) -> list[dict[str, Any]]:
    path = training / f"{stage}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _last_validation(training: Path, stage: str) -> dict[str, float]:
    checks = [entry["validation"] for entry in _log(training, stage) if "validation" in entry]
    return checks[-1] if checks else {}


def _stage_row(training: Path, stage: str) -> list[str]:
    """Steps, minutes and last validation of one stage, from its log."""
    lines = _log(training, stage)
    seconds, previous = 0.0, 0.0
    for line in (entry for entry in lines if "seconds" in entry):
        if line["seconds"] < previous:  # a resumed run counts from zero again
            seconds += previous
        previous = line["seconds"]
    found = ", ".join(f"{k} {v:.3f}" for k, v in _last_validation(training, stage).items() if k != "tracks")
    return [stage, str(max(entry["step"] for entry in lines)), f"{(seconds + previous) / 60:.0f}", found]
