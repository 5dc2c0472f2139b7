"""Charts as SVG: plain numbers in, text out. Colours come from the page's style sheet."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 360, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 26
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

Label = Callable[[float], str]


def percent(share: float) -> str:
    """A share of 1 as people write it.

    Example:
        >>> percent(1.0), percent(0.0123)
        ('100 %', '1.2 %')
    """
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"


def histogram(values: Sequence[float], edges: Sequence[float], *, label: Label, ticks: Sequence[float], of: str) -> str:
    """How many values fall between neighbouring ``edges``, with a line at the median.

    Args:
        values: What to count; what lies outside the edges counts in the first or last bar.
        edges: Ascending; drawn at equal distances, so that they may be logarithmic.
        label: Writes a value.
        ticks: Values to mark on the axis.
        of: What is counted, plural, for the texts.
    """
    if not len(values):
        return _empty(f"no {of}")
    array = np.asarray(values, np.float64)
    inside = np.clip(array, edges[0], np.nextafter(edges[-1], -np.inf))
    counts, _ = np.histogram(inside, bins=np.asarray(edges, np.float64))
    low, middle, high = (float(part) for part in np.quantile(array, (0.25, 0.5, 0.75)))
    summary = f"{len(array):,} {of}: median {label(middle)}, the middle half from {label(low)} to {label(high)}"
    titles = [
        f"{label(a)} to {label(b)}: {count:,} {of}" for a, b, count in zip(edges, edges[1:], counts, strict=False)
    ]
    places = [(float(np.interp(tick, edges, np.linspace(0, 1, len(edges)))), label(tick)) for tick in ticks]
    median = float(np.interp(middle, edges, np.linspace(0, 1, len(edges))))
    return _bars(counts.tolist(), titles, places, summary, mark=median)


def bars_over_time(values: Sequence[float], seconds: float, *, unit: str, label: Label) -> str:
    """One bar for every equal part of ``seconds``."""
    step = seconds / len(values)
    titles = [f"{label(step * i)} to {label(step * (i + 1))}: {value:.3g} {unit}" for i, value in enumerate(values)]
    mean = sum(values) / len(values)
    summary = f"{mean:.3g} {unit} on average over {label(seconds)}, at most {max(values):.3g}"
    return _bars(values, titles, [(0, "0"), (0.5, label(seconds / 2)), (1, label(seconds))], summary)


def scatter(points: Sequence[tuple[float, float]], *, across: str, up: str, summary: str) -> str:
    """Points in the unit square."""
    dots = "".join(
        f'<circle class="dot" cx="{_LEFT + x * _PLOT_WIDTH:.1f}" cy="{_TOP + (1 - y) * _PLOT_HEIGHT:.1f}" r="2.5"/>'
        for x, y in points
    )
    ticks = _ticks([(0, "0"), (0.5, f"{across} 0.5"), (1, "1")])
    return _svg(dots + ticks + _height_labels(["0", f"{up} 1"]), summary)


def lines(series: Mapping[str, Sequence[float]], *, across: str, mark: float, summary: str) -> str:
    """Lines over equal steps from 0 to 1, values from 0 to 1, told apart by dashes and a name at their end.

    Args:
        series: At most four: name and values.
        across: What goes from 0 to 1.
        mark: Where a vertical line stands.
        summary: The chart in words.
    """
    parts = []
    for number, (name, values) in enumerate(series.items()):
        step = _PLOT_WIDTH / (len(values) - 1)
        points = " ".join(
            f"{_LEFT + index * step:.1f},{_TOP + (1 - value) * _PLOT_HEIGHT:.1f}" for index, value in enumerate(values)
        )
        y = _TOP + _PLOT_HEIGHT - 6 - 13 * (len(series) - 1 - number)
        parts.append(
            f'<polyline class="line line-{number}" points="{points}"><title>{escape(name)}</title></polyline>'
            f'<line class="line line-{number}" x1="{_LEFT + 6}" x2="{_LEFT + 28}" y1="{y - 4}" y2="{y - 4}"/>'
            f'<text x="{_LEFT + 33}" y="{y}">{escape(name)}</text>'
        )
    x = _LEFT + mark * _PLOT_WIDTH
    parts.append(f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _PLOT_HEIGHT}"/>')
    ticks = _ticks([(0, "0"), (0.5, f"{across} 0.5"), (1, "1")])
    return _svg("".join(parts) + ticks + _height_labels(["0", "1"]), summary)


def _bars(
    values: Sequence[float],
    titles: Sequence[str],
    ticks: Sequence[tuple[float, str]],
    summary: str,
    mark: float | None = None,
) -> str:
    top = max(*values, 0) or 1
    width = _PLOT_WIDTH / len(values)
    parts = []
    for index, (value, title) in enumerate(zip(values, titles, strict=True)):
        height = _PLOT_HEIGHT * value / top
        parts.append(
            f'<rect class="bar" x="{_LEFT + index * width + 0.5:.1f}" y="{_TOP + _PLOT_HEIGHT - height:.1f}" '
            f'width="{max(1.0, width - 1):.1f}" height="{height:.1f}"><title>{escape(title)}</title></rect>'
        )
    if mark is not None:
        x = _LEFT + mark * _PLOT_WIDTH
        parts.append(f'<line class="median" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + _PLOT_HEIGHT}"/>')
    return _svg(
        "".join(parts) + _ticks(ticks) + _height_labels(["0", f"{top:,.3g}" if top < 1000 else f"{top:,.0f}"]), summary
    )


def _ticks(ticks: Sequence[tuple[float, str]]) -> str:
    bottom = _TOP + _PLOT_HEIGHT
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    for place, text in ticks:
        anchor = "start" if place < 0.05 else "end" if place > 0.95 else "middle"
        x = _LEFT + place * _PLOT_WIDTH
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="{anchor}">{escape(text)}</text>')
    return "".join(parts)


def _height_labels(texts: Sequence[str]) -> str:
    places = (_TOP + _PLOT_HEIGHT, _TOP + 10)
    return "".join(
        f'<text x="{_LEFT - 5}" y="{y}" text-anchor="end">{escape(text)}</text>'
        for y, text in zip(places, texts, strict=True)
    )


def _empty(text: str) -> str:
    return f'<p class="none">{escape(text)}</p>'


def _svg(content: str, summary: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary)}">{content}</svg>'
        f"<figcaption>{escape(summary)}</figcaption>"
    )
