"""How well a track's score ranks tracks by their true J&F, and the weights that make it do so.

Weights are fitted on clips of the training split; what is reported is measured on the held-out split.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from pipeline.evaluation.region_boundary import boundary_accuracy, region_similarity
from pipeline.model.procedure import Procedure
from pipeline.model.sa2va import Sa2VA
from pipeline.model.score import TrackEvidence, track_score
from pipeline.workshop.nano.validation import ShapesBenchmark, decode_track

Floats = NDArray[np.float64]

EVIDENCE = tuple(field.name for field in fields(TrackEvidence))
MOST_WEIGHT = 10.0
"""No single piece of evidence decides alone, however well it did on the clips of the fit."""
RIDGE = 1e-3
"""Keeps weights small that the clips say nothing about."""


@dataclass(frozen=True)
class RankedTrack:
    """One track of the library's answer, with the truth about it."""

    video_id: str
    expression_id: str
    object_id: int
    kind: str
    empty: bool
    """No frame shows it, so that its score is 0 whatever the evidence."""
    evidence: TrackEvidence
    j_and_f: float


def collect_tracks(
    model: Sa2VA, benchmark: ShapesBenchmark, procedure: str | Procedure = "sa2va-i", num_keyframes: int = 5
) -> list[RankedTrack]:
    """Segment every expression of a benchmark's clips; every track found, beside its J&F against the whole target."""
    found = []
    for video_id, i, answer in benchmark.answers(model, procedure, num_keyframes):
        truth = benchmark.truth(video_id, i)
        for number, track in enumerate(answer.tracks):
            masks = decode_track(track.masks, *truth.shape)
            j, f = region_similarity(truth, masks).mean(), boundary_accuracy(truth, masks).mean()
            assert track.evidence is not None
            kind, empty = benchmark.kinds[video_id][i], not any(track.areas)
            found.append(RankedTrack(video_id, i, number, kind, empty, track.evidence, float(j + f) / 2))
    return found


def scores_of(tracks: Sequence[RankedTrack], weights: TrackEvidence | None = None, bias: float | None = None) -> Floats:
    """Scores as the library gives them, or as it would with other weights."""
    if weights is None or bias is None:
        return np.array([0.0 if one.empty else track_score(one.evidence) for one in tracks])
    return np.array([0.0 if one.empty else track_score(one.evidence, weights, bias) for one in tracks])


def truths_of(tracks: Sequence[RankedTrack]) -> Floats:
    """True J&F, 0..1."""
    return np.array([one.j_and_f for one in tracks])


def fit_weights(tracks: Sequence[RankedTrack]) -> tuple[TrackEvidence, float]:
    """Weights and bias under which scores come nearest to J&F (least cross-entropy); no weight is negative.

    Returns:
        Both rounded to two decimals.
    """
    shown = [one for one in tracks if not one.empty]
    features = np.array([[getattr(one.evidence, name) for name in EVIDENCE] for one in shown])
    truth = truths_of(shown)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        odds = features @ parameters[:-1] + parameters[-1]
        value = np.mean(np.logaddexp(0, odds) - truth * odds) + RIDGE * np.sum(parameters[:-1] ** 2)
        error = 1 / (1 + np.exp(-odds)) - truth
        slope = np.append(features.T @ error / len(truth) + 2 * RIDGE * parameters[:-1], error.mean())
        return float(value), slope

    start = np.append(np.ones(len(EVIDENCE)), 0.0)
    bounds = [(0.0, MOST_WEIGHT)] * len(EVIDENCE) + [(None, None)]
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x.round(2)
    return TrackEvidence(**dict(zip(EVIDENCE, best[:-1].tolist(), strict=True))), float(best[-1])


def spearman(one: Floats, other: Floats) -> float:
    """Rank correlation, -1..1; 0 where one of the two does not vary."""
    ranks, others = rankdata(one), rankdata(other)
    if np.ptp(ranks) == 0 or np.ptp(others) == 0:
        return 0.0
    return float(np.corrcoef(ranks, others)[0, 1])


def spearman_interval(tracks: Sequence[RankedTrack], scores: Floats, draws: int = 500) -> tuple[float, float]:
    """95 % interval of the rank correlation, by drawing clips anew: tracks of one clip are no independent samples."""
    videos = sorted({one.video_id for one in tracks})
    rows = {video: [i for i, one in enumerate(tracks) if one.video_id == video] for video in videos}
    truth, random = truths_of(tracks), np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = [i for number in random.integers(len(videos), size=len(videos)) for i in rows[videos[number]]]
        found.append(spearman(scores[drawn], truth[drawn]))
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)


def kept_mean(order_by: Floats, truth: Floats, share: float) -> float:
    """Mean J&F of the best ``share`` of tracks, best by ``order_by``; at least one track."""
    count = max(1, round(share * len(truth)))
    return float(truth[np.argsort(-order_by, kind="stable")[:count]].mean())


def write_tracks(path: Path, tracks: Sequence[RankedTrack]) -> None:
    """One CSV line per track."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "expression_id", "object_id", "kind", "empty", *EVIDENCE, "j_and_f"])
        for one in tracks:
            evidence = [getattr(one.evidence, name) for name in EVIDENCE]
            writer.writerow(
                [one.video_id, one.expression_id, one.object_id, one.kind, int(one.empty), *evidence, one.j_and_f]
            )


def read_tracks(path: Path) -> list[RankedTrack]:
    """The inverse of :func:`write_tracks`."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            RankedTrack(
                video_id=line["video_id"],
                expression_id=line["expression_id"],
                object_id=int(line["object_id"]),
                kind=line["kind"],
                empty=line["empty"] == "1",
                evidence=TrackEvidence(**{name: float(line[name]) for name in EVIDENCE}),
                j_and_f=float(line["j_and_f"]),
            )
            for line in csv.DictReader(file)
        ]
