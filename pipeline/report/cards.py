"""One item of the gallery as HTML. Everything that comes from data is escaped here."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pipeline.report.charts import percent
from pipeline.report.collect import ObjectFacts
from pipeline.report.drawing import Drawing
from pipeline.report.overlay import COLOURS
from pipeline.report.sample import ShownItem
from pipeline.report.truth import TruthScore
from pipeline.storage import scrub

_DECISIONS = {"keep": "Accept", "drop": "Reject", "absent": "Not there"}
"""Actions of an edit file that a reviewer can choose, and what their buttons are called."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the gallery shows of one item."""

    number: int
    sampled: ShownItem
    drawing: Drawing | None
    """None where there is nothing to draw."""
    ground: str | None
    """Id of the video's pictures in the page."""
    problem: str | None
    """Why the video's pictures are missing."""
    truth_score: TruthScore | None
    file: str
    """The dataset's file that holds the rows, under the dataset's folder."""
    link: str | None
    """Where that file is, from the page; None where it cannot be linked to."""
    query: str
    """Finds the rows; to be copied."""
    reason: str | None = None
    """Why it was picked for review."""
    movie: str | None = None
    """Where the overlay video is, from the page."""


def text(value: object) -> str:
    """``value`` as HTML text or attribute: escaped, one line, no control characters."""
    return escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True)


def card_html(card: Card) -> str:
    """The list item of one (video, expression)."""
    item = card.sampled.item
    search = " ".join((item.video_id, item.expression_id, item.expression, item.answer or "", scrub(item.error or "")))
    attributes = {
        "search": search,
        "status": item.status,
        "group": card.sampled.group,
        "score": _number(item.score),
        "presence": _number(item.presence),
        "jf": _number(card.truth_score.both if card.truth_score else None),
        "area": _number(item.area),
        "pictures": f"item-{card.number}" if card.drawing is not None else "",
    }
    data = "".join(f' data-{name}="{text(value)}"' for name, value in attributes.items())
    parts = [
        f'<li class="card" id="card-{card.number}" tabindex="-1"{data}>',
        f'<div class="badges"><span class="badge {_css_class(item.status)}">{text(_words(item.status))}</span>',
        f'<span class="badge">{text(card.sampled.group)}</span></div>' if card.sampled.group else "</div>",
        f'<h3 dir="auto">{text(item.expression)}</h3>',
        f'<p class="reason">Worth a look: {text(card.reason)}</p>' if card.reason else "",
        _media(card),
        f'<p class="error">{text(scrub(item.error))}</p>' if item.error else "",
        f'<p class="note">The video cannot be shown: {text(scrub(card.problem))}</p>' if card.problem else "",
        f'<p class="answer"><span dir="auto">{text(item.answer)}</span></p>' if item.answer else "",
        _facts(card),
        _row(card),
        _review(card),
        "</li>",
    ]
    return "".join(parts)


def _media(card: Card) -> str:
    drawing, item = card.drawing, card.sampled.item
    if drawing is None:
        return ""
    label = f"Play {item.video_id}: {item.expression}"
    one = len(drawing.frames) < 2
    strip = "" if one else f'<ol class="strip" aria-label="{text(f"frames of {item.video_id}")}"></ol>'
    return (
        f'<div class="media{" one" if one else ""}" style="--ratio: {drawing.width} / {drawing.height}">'
        f'<button type="button" class="player" aria-pressed="false" aria-label="{text(label)}">'
        f'<span class="counter" aria-hidden="true"></span></button>{strip}</div>'
    )


def _facts(card: Card) -> str:
    item = card.sampled.item
    facts: list[tuple[str, str]] = []
    if item.score is not None and len(item.objects) == 1:
        facts.append(("score", f"{item.score:.2f}"))
    if item.presence is not None:
        facts.append(("presence", f"{item.presence:.2f}"))
    if item.verdict is not None:
        facts.append(("verdict", f"{item.verdict:.2f}"))
    if card.truth_score is not None:
        truth_score = card.truth_score
        why = f" ({truth_score.missing})" if truth_score.missing else ""
        facts.append(("J&F", f"{100 * truth_score.both:.1f}{why}"))
        facts += [] if why else [("J", f"{100 * truth_score.region:.1f}"), ("F", f"{100 * truth_score.boundary:.1f}")]
    if item.frames:
        facts.append(("in frames", f"{item.present} of {item.frames}"))
    if item.area is not None:
        facts.append(("area", percent(item.area)))
    rows = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts)
    objects = _objects(item.objects) if len(item.objects) > 1 else ""
    return f'<dl class="facts">{rows}{objects}</dl>' if rows or objects else ""


def _objects(objects: Sequence[ObjectFacts]) -> str:
    parts = []
    for track in objects:
        red, green, blue = COLOURS[track.object_id % len(COLOURS)]
        chip = f'<span class="chip" style="background: rgb({red} {green} {blue})"></span>'
        score = "" if track.score is None else f"{track.score:.2f}"
        parts.append(f"<div><dt>{chip}object {track.object_id}</dt><dd>{score}</dd></div>")
    return "".join(parts)


def _row(card: Card) -> str:
    item = card.sampled.item
    file = f"<code>{text(card.file)}</code>"
    if card.link is not None:
        file = f'<a href="{text(card.link)}">{file}</a>'
    movie = f' · <a href="{text(card.movie)}">overlay video</a>' if card.movie else ""
    where = f"video <code>{text(item.video_id)}</code>, expression <code>{text(item.expression_id)}</code> in {file}"
    label = f"Copy a query for the rows of {item.video_id}, expression {item.expression_id}"
    return (
        f'<div class="row"><span>{where}{movie}</span><button type="button" class="copy" '
        f'data-copy="{text(card.query)}" aria-label="{text(label)}">Copy query</button></div>'
    )


def _review(card: Card) -> str:
    item = card.sampled.item
    about = text(f"{item.video_id}: {item.expression}")
    buttons = "".join(
        f'<button type="button" data-decide="{action}" aria-pressed="false" aria-label="{word} {about}">{word}</button>'
        for action, word in _DECISIONS.items()
    )
    comment = f'<input class="comment" placeholder="comment" aria-label="Comment on {about}" autocomplete="off">'
    return f'<div class="review">{buttons}{comment}</div>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _words(status: str) -> str:
    return status.replace("_", " ")


def _css_class(status: str) -> str:
    return status if status in ("ok", "failed", "no_object") else ""
