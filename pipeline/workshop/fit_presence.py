"""Fit the weights of the evidence for presence on a ground truth that has absent expressions.

The tree is in MeViS's layout (JPEGImages/, meta_expressions.json; an expression whose anno_id is empty is absent).
Without --ground-truth, clips are drawn that neither training nor the held-out results use. Writes FILE for annotate
--calibration (or for presence.json beside a checkpoint's config.json): 0.5 is the threshold at which most is right.
Prints what each piece of evidence gives alone, and what is left without it.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from pipeline.cli.program import run_command
from pipeline.errors import UsageError
from pipeline.model.presence import PresenceEvidence, presence_evidence
from pipeline.settings import CheckedSettings, Option, at_least

PROGRAM = "python -m pipeline.workshop.fit_presence"
NAMES = tuple(field.name for field in fields(PresenceEvidence))
CALIBRATION_SEED = 5
RIDGE = 1e-2
"""Keeps weights finite where the evidence separates the two kinds perfectly."""
KEPT_SHARE = 0.955
"""Share of present expressions that the threshold has to keep: a rejected one loses its whole mask."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    output: Annotated[str, Option("FILE")]
    """The calibration to write."""
    model: str = "nano"
    """The model to fit for, as for annotate."""
    ground_truth: Annotated[str | None, Option("DIR")] = None
    """Tree in MeViS's layout."""
    videos: Annotated[int, at_least(2), Option("N")] = 96
    """Clips to draw where there is no --ground-truth."""
    num_keyframes: Annotated[int, at_least(1), Option("K")] = 5
    """Frames that the language model sees."""


def run(options: Options) -> int:
    """Segment, fit, write."""
    import tempfile

    import torch

    from pipeline.workshop.shapes.benchmark import write_benchmark

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(options.ground_truth or scratch)
        if options.ground_truth is None:
            write_benchmark(tree, num_videos=options.videos, seed=CALIBRATION_SEED, expressions_per_video=8)
        evidence, there = collect(tree, options.model, options.num_keyframes)
    if there.all() or not there.any():
        raise UsageError(f"{tree}: needs expressions with and without a target, has {int(there.sum())} of {len(there)}")
    weights = fit(evidence, there)
    for line in ablation(evidence, there):
        print(line)
    values = {"bias": weights[-1], **dict(zip(NAMES, weights[:-1], strict=True))}
    text = json.dumps({"weights": {name: round(float(value), 4) for name, value in values.items()}}, indent=1)
    Path(options.output).write_text(text + "\n", encoding="utf-8")
    print(f"{options.output}: {text}")
    return 0


def collect(tree: Path, model: str, num_keyframes: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Evidence float64 ``[N, evidence]`` for every expression of a tree, and whether it has a target, bool ``[N]``."""
    from pipeline.model.sa2va import Sa2VA

    segmenter = Sa2VA.from_checkpoint(model)
    rows: list[list[float]] = []
    there: list[bool] = []
    for folder, texts, targets in _videos(tree):
        for result in segmenter.segment(folder, texts, num_keyframes=num_keyframes):
            found = presence_evidence(result.yes_probability, [track.evidence for track in result.tracks])
            rows.append([getattr(found, name) for name in NAMES])
        there += targets
    return np.array(rows), np.array(there)


def _videos(tree: Path) -> Iterator[tuple[Path, list[str], list[bool]]]:
    meta = json.loads((tree / "meta_expressions.json").read_text(encoding="utf-8"))
    for video_id, video in meta["videos"].items():
        expressions = video["expressions"].values()
        yield tree / "JPEGImages" / video_id, [e["exp"] for e in expressions], [bool(e["anno_id"]) for e in expressions]


def fit(evidence: Floats, there: npt.NDArray[np.bool_], used: Sequence[bool] | None = None) -> Floats:
    """Weights of a logistic function ``[evidence + 1]``, the bias last, both kinds counting the same.

    The bias is then moved so that a probability of 0.5 is the threshold that rejects most absent expressions among
    those that keep :data:`KEPT_SHARE` of the present ones.
    """
    from scipy.optimize import minimize

    mask = np.append(np.ones(len(NAMES)) if used is None else np.array(used, float), 1.0)
    inputs = np.column_stack([evidence, np.ones(len(evidence))]) * mask
    share = np.where(there, 0.5 / there.mean(), 0.5 / (1 - there.mean()))
    sign = np.where(there, 1.0, -1.0)

    def loss(weights: Floats) -> float:
        margins = sign * (inputs @ weights)
        return float((share * np.logaddexp(0, -margins)).mean() + RIDGE * (weights[:-1] ** 2).sum())

    weights: Floats = minimize(loss, np.zeros(inputs.shape[1]), method="L-BFGS-B").x * mask
    odds = inputs @ weights
    weights[-1] -= np.quantile(odds[there], 1 - KEPT_SHARE)
    return weights


def auc(odds: Floats, there: npt.NDArray[np.bool_]) -> float:
    """Chance that a present expression gets higher odds than an absent one; ties count half."""
    from scipy.stats import rankdata

    ranks = rankdata(odds)
    present = int(there.sum())
    return float((ranks[there].sum() - present * (present + 1) / 2) / (present * (len(there) - present)))


def ablation(evidence: Floats, there: npt.NDArray[np.bool_]) -> Iterator[str]:
    """One line for all of the evidence, for each piece alone, and for all but each piece."""
    choices = {"all": [True] * len(NAMES)}
    choices |= {f"only {name}": [other == name for other in NAMES] for name in NAMES}
    choices |= {f"without {name}": [other != name for other in NAMES] for name in NAMES}
    for label, used in choices.items():
        weights = fit(evidence, there, used)
        odds = np.column_stack([evidence, np.ones(len(evidence))]) @ weights
        kept, rejected = float((odds > 0)[there].mean()), float((odds <= 0)[~there].mean())
        yield f"{label:26} AUC {auc(odds, there):.3f}  T-acc {100 * kept:5.1f}  N-acc {100 * rejected:5.1f}"


def main() -> int:
    """Run the program and return its exit code."""
    return run_command(PROGRAM, Options, run, sys.argv[1:], description=__doc__)


if __name__ == "__main__":
    sys.exit(main())
