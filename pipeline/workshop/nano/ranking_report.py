"""The ranking quality of scores as a Markdown text and as a plot."""

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.model.score import BIAS, WEIGHTS, TrackEvidence
from pipeline.workshop.nano.ranking import (
    EVIDENCE,
    Floats,
    RankedTrack,
    kept_mean,
    scores_of,
    spearman,
    spearman_interval,
    truths_of,
)

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 380, 60, 24, 24, 56
_COLOURS = ("#0b62c4", "#d1600a", "#7a7a7a", "#2e8540")


def orders(tracks: Sequence[RankedTrack], weights: TrackEvidence, bias: float) -> dict[str, Floats]:
    """What tracks can be ordered by: the score in use, the one fitted now, the simplest one, and the truth."""
    simplest = [0.0 if one.empty else one.evidence.seg_probability * one.evidence.predicted_iou for one in tracks]
    return {
        "score, fitted": scores_of(tracks, weights, bias),
        "score, as the library has it": scores_of(tracks),
        "[SEG] probability x predicted IoU": np.array(simplest),
        "true J&F (the best there could be)": truths_of(tracks),
    }


def report(
    trained_on: Sequence[RankedTrack], held_out: Sequence[RankedTrack], weights: TrackEvidence, bias: float
) -> str:
    """Everything about the ranking of held-out tracks, as Markdown."""
    truth = truths_of(held_out)
    by = orders(held_out, weights, bias)
    single = {name: np.array([getattr(one.evidence, name) for one in held_out]) for name in EVIDENCE}
    clips, trained_clips = (len({one.video_id for one in tracks}) for tracks in (held_out, trained_on))
    about = (
        f"{len(held_out)} tracks of {clips} held-out clips, mean J&F {100 * truth.mean():.1f}; "
        f"weights fitted on {len(trained_on)} tracks of {trained_clips} training clips."
    )
    lines = [
        about,
        "",
        "| ordered by | Spearman with true J&F (95 % interval) |",
        "|---|---|",
    ]
    for name, scores in [*list(by.items())[:-1], *single.items()]:
        low, high = spearman_interval(held_out, scores)
        lines.append(f"| {name} | {spearman(scores, truth):.2f} ({low:.2f} to {high:.2f}) |")
    lines += ["", "| kept, by score | " + " | ".join(by) + " |", "|---|" + "---|" * len(by)]
    for share in SHARES:
        means = " | ".join(f"{100 * kept_mean(scores, truth, share):.1f}" for scores in by.values())
        lines.append(f"| {100 * share:.0f} % | {means} |")
    lines += ["", "| evidence | weight, fitted | in use |", "|---|---|---|"]
    lines += [f"| {name} | {getattr(weights, name):.2f} | {getattr(WEIGHTS, name):.2f} |" for name in EVIDENCE]
    lines += [f"| bias | {bias:.2f} | {BIAS:.2f} |", ""]
    return "\n".join(lines)


def constants(weights: TrackEvidence, bias: float) -> str:
    """The lines of ``pipeline/model/score.py`` that would put the fitted weights to use."""
    values = ", ".join(f"{name}={getattr(weights, name)}" for name in EVIDENCE)
    return f"WEIGHTS = TrackEvidence({values})\nBIAS = {bias}"


def plot(curves: Mapping[str, Floats], truth: Floats) -> str:
    """J&F of the kept part against the share kept, one curve per order, as an SVG picture."""
    shares = [number / 100 for number in range(5, 101)]
    lines = [_axes()]
    for number, (name, order) in enumerate(curves.items()):
        points = " ".join(f"{_x(share):.1f},{_y(kept_mean(order, truth, share)):.1f}" for share in shares)
        colour = _COLOURS[number % len(_COLOURS)]
        dashes = ' stroke-dasharray="5 4"' if number else ""
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
        y = _y(0) - 14 - 18 * (len(curves) - 1 - number)
        lines.append(f'<line x1="{_LEFT + 12}" x2="{_LEFT + 40}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"')
        lines[-1] += f'{dashes}/><text x="{_LEFT + 48}" y="{y + 4}">{_escape(name)}</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    head += f'font-family="sans-serif" font-size="12"><title>{_escape("J&F of what is kept")}</title>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#ffffff"/>', *lines, "</svg>", ""])


def _axes() -> str:
    parts = []
    for percent in range(0, 101, 20):
        y, x = _y(percent / 100), _x(percent / 100)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e2e2"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{percent} %</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle">share of tracks kept</text>')
    side = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="18" y="{side}" text-anchor="middle" transform="rotate(-90 18 {side})">'
        f"{_escape('mean J&F of the kept')}</text>"
    )
    return "\n".join(parts)


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
