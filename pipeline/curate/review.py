"""Which rows are most worth a person's time, and why: low scores, doubtful presence, disagreement with another run."""

import heapq
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.dataset.layout import REVIEW_FILE
from pipeline.dataset.verdicts import JUDGED_COLUMNS, Verdicts
from pipeline.errors import UsageError
from pipeline.schema import Status
from pipeline.storage import MissingFileError, atomic_write, join, read_bytes, scrub

RowId = tuple[str, str, int]
"""``(video_id, expression_id, object_id)``."""

FACTS = tuple(dict.fromkeys(("video_id", "expression_id", "object_id", "score", "presence", *JUDGED_COLUMNS)))
"""Columns that are looked at."""
PRESENCE_THRESHOLD = 0.5
"""Presence is doubtful near this, unless ``reject_below`` names another threshold."""
_KINDS = ("verdict", "other run", "answer", "presence", "score")
"""Reasons in the order in which they take turns."""
_STRONG = 0.5
"""Reasons of less strength are not told, unless there is no other."""
_HELD_PER_PICK = 8
"""Candidates held for each row to pick and each reason, so that there is a choice between kinds of sentences."""
_WORD = re.compile(r"\w+")
_COMMON_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "in", "into", "is", "it", "its", "of", "on"}
    | {"one", "or", "that", "the", "their", "them", "then", "there", "they", "this", "to", "was", "were", "which"}
    | {"while", "who", "whose", "with"}
)


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A row to look at.

    Attributes:
        video_id, expression_id, object_id: The row.
        expression: Its sentence.
        score, presence: As in the dataset.
        reason: Why it was picked, in words; several are joined by a semicolon.
    """

    video_id: str
    expression_id: str
    object_id: int
    expression: str
    score: float | None
    presence: float | None
    reason: str

    def as_edit(self) -> dict[str, Any]:
        """The row as a line of an edit file that changes nothing yet."""
        return {**asdict(self), "action": "undecided"}


@dataclass(frozen=True)
class _Candidate:
    key: RowId
    row: Mapping[str, Any]
    reasons: tuple[tuple[str, float, str], ...]
    """Kind of each reason, how strong it is (0..1), and its words."""


def write_review(dataset: str, picks: Sequence[Pick]) -> None:
    """Write ``review.jsonl`` beside a dataset's masks: a line a row, in the form of an edit file."""
    lines = [json.dumps(pick.as_edit(), ensure_ascii=False) + "\n" for pick in picks]
    atomic_write(join(dataset, REVIEW_FILE), "".join(lines).encode("utf-8", "replace"))


def read_reasons(dataset: str) -> dict[tuple[str, str], str]:
    """By video and expression: why a dataset's rows were picked; empty where it has no ``review.jsonl``."""
    try:
        text = read_bytes(join(dataset, REVIEW_FILE)).decode("utf-8", "replace")
    except MissingFileError:
        return {}
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in text.splitlines():
        try:
            row = json.loads(line)
            found[row["video_id"], row["expression_id"]].append(row["reason"])
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{scrub(join(dataset, REVIEW_FILE))}: not written by this program ({error})") from error
    return {key: "; ".join(dict.fromkeys(map(str, reasons))) for key, reasons in found.items()}


class ReviewPicker:
    """Looks at rows one by one and picks the few that are most worth a look; the order of rows does not matter.

    Reasons take turns, and within one so do kinds of sentences (those that share their most frequent word), so that no
    single weakness fills the whole list.

    Args:
        count: Rows to pick.
        threshold: Presence is doubtful near it.
        other_iou: By row: IoU of its masks with those of another run, for rows in which the two differ.
        verdicts: What a second model said of the rows.
    """

    def __init__(
        self,
        count: int,
        *,
        threshold: float | None = None,
        other_iou: Mapping[RowId, float] | None = None,
        verdicts: Verdicts | None = None,
    ) -> None:
        self._count = count
        self._threshold = PRESENCE_THRESHOLD if threshold is None else threshold
        self._other_iou = other_iou or {}
        self._verdicts = verdicts if verdicts is not None else Verdicts()
        self._held: dict[str, list[tuple[float, _Reversed, _Candidate]]] = defaultdict(list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Consider a row, of which only :data:`FACTS` are looked at."""
        key = (row["video_id"], row["expression_id"], row["object_id"])
        reasons = tuple(self._reasons(key, row))
        candidate = _Candidate(key, dict(row), reasons)
        for kind, strength, _ in reasons:
            held = self._held[kind]
            heapq.heappush(held, (strength, _Reversed(key), candidate))
            if len(held) > _HELD_PER_PICK * self._count:
                heapq.heappop(held)

    def picked(self) -> list[Pick]:
        """The rows, the one most worth a look first."""
        candidates = {candidate.key: candidate for held in self._held.values() for *_, candidate in held}
        cluster_of = _clusters({key: candidate.row["expression"] for key, candidate in candidates.items()})
        waiting = {kind: _by_cluster(held, cluster_of) for kind in _KINDS if (held := self._held.get(kind))}
        picked: dict[RowId, _Candidate] = {}
        used: Counter[str] = Counter()
        while len(picked) < self._count and any(waiting.values()):
            for clusters in waiting.values():
                candidate = _take(clusters, used, picked)
                if candidate is not None and len(picked) < self._count:
                    picked[candidate.key] = candidate
                    used[cluster_of[candidate.key]] += 1
        return [_pick(candidate) for candidate in picked.values()]

    def _reasons(self, key: RowId, row: Mapping[str, Any]) -> list[tuple[str, float, str]]:
        score, presence = row["score"], row["presence"]
        found = []
        if row["status"] == Status.OK and score is not None:
            found.append(("score", 1 - score, f"score {score:.2f}"))
        if presence is not None:
            found += self._presence_reasons(row["status"], presence)
        iou = self._other_iou.get(key)
        if iou is not None:
            found.append(("other run", 1 - iou, f"another run's masks differ, IoU {iou:.2f}"))
        verdict = self._verdicts.of_row(row) if len(self._verdicts) else None
        if verdict is not None and row["status"] == Status.OK:
            found.append(("verdict", 1 - verdict, f"verdict of a second model {verdict:.2f}"))
        return found

    def _presence_reasons(self, status: str, presence: float) -> list[tuple[str, float, str]]:
        if status == Status.NO_OBJECT and presence >= self._threshold:
            return [("answer", presence, f"answered with nothing, but presence {presence:.2f}")]
        distance = abs(presence - self._threshold) / max(self._threshold, 1 - self._threshold)
        near = f"presence {presence:.2f}, threshold {self._threshold:g}"
        return [("presence", 1 - distance, near)] if status == Status.OK else []


class _Reversed:
    """Orders ids backwards, so that of equally strong candidates a heap drops the last one by id."""

    def __init__(self, key: RowId) -> None:
        self.key = key

    def __lt__(self, other: "_Reversed") -> bool:
        return other.key < self.key


def _by_cluster(
    held: Sequence[tuple[float, _Reversed, _Candidate]], cluster_of: Mapping[RowId, str]
) -> dict[str, list[tuple[float, _Candidate]]]:
    """Candidates of one reason by kind of sentence, the strongest of each last."""
    clusters: dict[str, list[tuple[float, _Candidate]]] = defaultdict(list)
    for strength, _, candidate in sorted(held, key=lambda entry: (entry[0], entry[1])):
        clusters[cluster_of[candidate.key]].append((strength, candidate))
    return clusters


def _take(
    clusters: dict[str, list[tuple[float, _Candidate]]], used: Counter[str], picked: Mapping[RowId, object]
) -> _Candidate | None:
    """The strongest candidate of the kind of sentence that was picked least."""
    for name in list(clusters):
        while clusters[name] and clusters[name][-1][1].key in picked:
            clusters[name].pop()
        if not clusters[name]:
            del clusters[name]
    if not clusters:
        return None

    def rank(name: str) -> tuple[int, float, RowId]:
        strength, candidate = clusters[name][-1]
        return used[name], -strength, candidate.key

    return clusters[min(clusters, key=rank)].pop()[1]


def _clusters(sentences: Mapping[RowId, str]) -> dict[RowId, str]:
    """The kind of every sentence: the one of its words that most sentences have; empty for one of common words only."""
    words = {key: _content_words(sentence) for key, sentence in sentences.items()}
    frequency = Counter(word for of_one in words.values() for word in of_one)
    return {key: min(of_one, key=lambda word: (-frequency[word], word), default="") for key, of_one in words.items()}


def _content_words(sentence: str) -> frozenset[str]:
    return frozenset(_WORD.findall(sentence.casefold())) - _COMMON_WORDS


def _pick(candidate: _Candidate) -> Pick:
    row = candidate.row
    reasons = sorted(candidate.reasons, key=lambda reason: -reason[1])
    told = [words for _, strength, words in reasons if strength >= _STRONG] or [reasons[0][2]]
    video_id, expression_id, object_id = candidate.key
    return Pick(
        video_id=video_id,
        expression_id=expression_id,
        object_id=object_id,
        expression=row["expression"],
        score=row["score"],
        presence=row["presence"],
        reason="; ".join(told),
    )
