"""The page: template, style and script become one file that needs nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pipeline.report.cards import Card, card_html, text
from pipeline.report.drawing import FramePictures
from pipeline.report.sample import GROUPS
from pipeline.schema import Status

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")

_SORTS = {
    "sample": "as sampled",
    "score-low": "score, lowest first",
    "score-high": "score, highest first",
    "presence-low": "presence, lowest first",
    "presence-high": "presence, highest first",
    "jf-low": "J&F, lowest first",
    "jf-high": "J&F, highest first",
    "area-high": "area, largest first",
    "area-low": "area, smallest first",
    "video": "video and expression",
}


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is on the page."""

    title: str
    lead: str
    tiles: Sequence[tuple[str, str]]
    """Numbers and what they count."""
    about: Sequence[str]
    """Sentences under the numbers."""
    notes: Sequence[str]
    """What the reader must know: something is missing."""
    failures: Sequence[tuple[str, int, str]]
    """Kind of error, how often, an example."""
    configuration: Sequence[tuple[str, str]]
    charts: Sequence[tuple[str, str]]
    """Titles and SVG."""
    gallery_lead: str
    cards: Sequence[Card]
    grounds: Mapping[str, FramePictures]
    """Pictures of videos by their id in the page."""
    has_truth: bool
    version: str
    """Of the dataset; decisions of a reviewer are kept under it."""


def page_html(page: Page) -> bytes:
    """The whole file, UTF-8. Text from data is escaped; only this page's own script may run, nothing may be fetched."""
    assets = files("pipeline.report") / "assets"
    names = ("page.html", "page.css", "page.js", "review.js")
    template, style, *scripts = ((assets / name).read_text("utf-8") for name in names)
    script = "\n".join(scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    groups = [group for group in GROUPS if any(card.sampled.group == group for card in page.cards)]
    has_presence = any(card.sampled.item.presence is not None for card in page.cards)
    offered = {"jf": page.has_truth, "presence": has_presence}
    sorts = {key: name for key, name in _SORTS.items() if offered.get(key.split("-")[0], True)}
    values = {
        "script_hash": f"sha256-{digest}",
        "style": style,
        "script": script,
        "title": text(page.title),
        "lead": text(page.lead),
        "tiles": "".join(f"<li><b>{text(number)}</b><span>{text(what)}</span></li>" for number, what in page.tiles),
        "about": "".join(f'<p class="about">{text(sentence)}</p>' for sentence in page.about),
        "notes": "".join(f'<p class="note">{text(note)}</p>' for note in page.notes),
        "failures": _failures(page.failures),
        "configuration": _configuration(page.configuration),
        "charts": "".join(f"<figure><h3>{text(title)}</h3>{svg}</figure>" for title, svg in page.charts),
        "gallery_lead": text(page.gallery_lead),
        "status_options": _options({status.value: status.value.replace("_", " ") for status in Status}),
        "group_options": _options({group: group for group in groups}),
        "sort_options": _options(sorts),
        "truth_switch": _TRUTH_SWITCH if page.has_truth else "",
        "presence_filter": _PRESENCE_FILTER if has_presence else "",
        "cards": "\n".join(card_html(card) for card in page.cards),
        "data": "\n".join(_data(page)),
    }
    # One pass, so that what is put in is never looked through for more.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template).encode("utf-8", "replace")


_TRUTH_SWITCH = '<label class="check"><input type="checkbox" name="truth" checked> truth (white line)</label>'

_PRESENCE_FILTER = (
    "<fieldset><legend>Presence</legend>\n"
    + "".join(
        f'<label><span>{bound}</span> <input type="number" name="presence-{bound}" min="0" max="1" step="0.05" '
        'inputmode="decimal"></label>\n'
        for bound in ("from", "to")
    )
    + "</fieldset>"
)


def _data(page: Page) -> list[str]:
    """Pictures as inert JSON: the browser makes images of them when they come into view."""
    rows = [card.sampled.item.key for card in page.cards]
    scripts = [_json("review-data", {"version": page.version, "rows": rows})]
    scripts += [_json(name, ground.frames) for name, ground in page.grounds.items() if ground.frames]
    for card in page.cards:
        if card.drawing is not None:
            frames = [[frame.name, frame.mask, frame.truth, frame.caption] for frame in card.drawing.frames]
            scripts.append(_json(f"item-{card.number}", {"ground": card.ground, "frames": frames}))
    return scripts


def _json(name: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    # No "<", so that nothing in it can end the element or open a comment.
    content = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{content}</script>'


def _options(names: Mapping[str, str]) -> str:
    return "".join(f'<option value="{text(value)}">{text(name)}</option>' for value, name in names.items())


def _failures(failures: Sequence[tuple[str, int, str]]) -> str:
    if not failures:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{text(cause)}</th><td>{count:,}</td><td>{text(example)}</td></tr>"
        for cause, count, example in failures
    )
    head = "<tr><th scope=col>cause</th><th scope=col>expressions</th><th scope=col>for instance</th></tr>"
    return (
        f'<details open><summary>Failures by cause</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Failures by cause"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div></details>'
    )


def _configuration(lines: Sequence[tuple[str, str]]) -> str:
    if not lines:
        return ""
    rows = "".join(f"<tr><th scope=row>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in lines)
    return (
        f'<details><summary>Configuration</summary><div class="scroll" tabindex="0" role="region" '
        f'aria-label="Configuration"><table><tbody>{rows}</tbody></table></div></details>'
    )
