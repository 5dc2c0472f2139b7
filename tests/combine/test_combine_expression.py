"""One expression: what becomes of answers that agree, differ, are missing, or do not go together."""

from dataclasses import asdict

import numpy as np
import pytest

from pipeline.combine.answers import Answer
from pipeline.combine.expression import CombineError, combine_expression
from pipeline.combine.settings import CombineSettings
from pipeline.errors import UsageError
from pipeline.masks import decode_masks, encode_masks
from pipeline.schema import Status
from tests.report.report_datasets import track_row

NAMES = ["a", "b", "c"]
FRAMES, HEIGHT, WIDTH = 3, 10, 20


def box(left, right):
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    masks[:, 2:8, left:right] = True
    return masks


def answer(dataset, *tracks, weight=1.0, expression="the dog", **columns):
    """An answer with these masks as objects; without any, one that says there is none."""
    rows = [
        asdict(track_row("v", "0", expression, masks, object_id=number, **{"presence": 0.8, **columns}))
        for number, masks in enumerate(tracks)
    ]
    empty = {"status": Status.NO_OBJECT, "presence": 0.1, "answer": "No.", "score": None, **columns}
    rows = rows or [asdict(track_row("v", "0", expression, box(0, 0), **empty))]
    return Answer(dataset=dataset, weight=weight, rows=rows)


def combined(*answers, absent=None, **settings):
    return combine_expression(answers, absent or {}, CombineSettings(**settings), NAMES)


def masks_of(row):
    return decode_masks(row.masks, HEIGHT, WIDTH)


def test_the_majority_decides_each_pixel_and_columns_follow_the_masks() -> None:
    (row,) = combined(answer(0, box(2, 10)), answer(1, box(4, 12)), answer(2, box(6, 30)))
    assert (masks_of(row) == box(4, 12)).all()
    assert row.areas == [48] * 3
    assert row.bboxes == [[4, 2, 8, 6]] * 3
    assert (row.status, row.presence, row.error) == (Status.OK, pytest.approx(0.8), None)
    assert row.scores == pytest.approx([0.9] * 3)
    assert row.source == "combine"


def test_a_tie_keeps_the_pixel_and_weights_break_it() -> None:
    pair = answer(0, box(2, 10)), answer(1, box(6, 14))
    assert (masks_of(combined(*pair)[0]) == box(2, 14)).all()
    assert (masks_of(combined(*pair, mask_share=0.6)[0]) == box(6, 10)).all()
    heavier = answer(0, box(2, 10)), answer(1, box(6, 14), weight=1.01)
    assert (masks_of(combined(*heavier)[0]) == box(6, 14)).all()
    thirds = [answer(number, box(2, 10), weight=1 / 3) for number in range(2)]
    assert (masks_of(combined(*thirds, answer(2, box(0, 0), weight=1 / 3), mask_share=2 / 3)[0]) == box(2, 10)).all()


def test_scores_and_presences_weigh_votes() -> None:
    doubtful, sure = answer(0, box(2, 10), score=0.2, presence=0.3), answer(1, box(6, 14), score=0.9, presence=0.4)
    (row,) = combined(doubtful, sure, weigh_by="score")
    assert (masks_of(row) == box(6, 14)).all()
    assert row.score == pytest.approx((0.2 * 0.2 + 0.9 * 0.9) / 1.1)
    assert (masks_of(combined(doubtful, sure, weigh_by="presence")[0]) == box(6, 14)).all()
    nothing = answer(2, presence=0.5)
    assert combined(doubtful, nothing, weigh_by="score")[0].status == Status.NO_OBJECT
    assert combined(sure, nothing, weigh_by="score")[0].status == Status.OK
    assert combined(sure, nothing, weigh_by="presence")[0].status == Status.NO_OBJECT


def test_datasets_that_see_nothing_vote_against_an_object() -> None:
    rows = combined(answer(0, box(2, 10)), answer(1), answer(2))
    assert [row.status for row in rows] == [Status.NO_OBJECT]
    assert rows[0].answer == "No."
    assert rows[0].masks == [None] * FRAMES
    assert rows[0].presence == pytest.approx(1 / 3)
    assert rows[0].frames == ["00000", "00001", "00002"]
    (row,) = combined(answer(0, box(2, 10)), answer(1, box(2, 10)), answer(2))
    assert row.status == Status.OK
    assert row.score == pytest.approx(0.5 * 2 / 3)


def test_presence_of_k_votes_is_the_kth_highest() -> None:
    answers = [answer(number, box(2, 10), presence=presence) for number, presence in enumerate((0.9, 0.2, 0.6))]
    for votes, expected in ((1, 0.9), (2, 0.6), (3, 0.2)):
        assert combined(*answers, presence_votes=votes)[0].presence == pytest.approx(expected)
    without = [answer(number, box(2, 10), presence=None) for number in range(2)]
    assert combined(*without)[0].presence is None


def test_several_objects_are_matched_whatever_their_order() -> None:
    left, right, middle = box(0, 5), box(12, 18), box(7, 10)
    rows = combined(answer(0, left, right), answer(1, right, left), answer(2, left, middle))
    assert [row.object_id for row in rows] == [0, 1]
    assert (masks_of(rows[0]) == left).all()
    assert (masks_of(rows[1]) == right).all()  # the one in the middle has one vote of three
    assert [row.score for row in rows] == pytest.approx([0.5, 0.5 * 2 / 3])


def test_the_best_answer_is_taken_as_it_is() -> None:
    (row,) = combined(answer(0, box(2, 10), score=0.7), answer(1, box(6, 14), score=0.8), answer(2), mode="best")
    assert (masks_of(row) == box(6, 14)).all()
    assert (row.score, row.source) == (0.8, None)
    assert row.presence == pytest.approx((0.8 + 0.8 + 0.1) / 3)
    (row,) = combined(answer(0, box(2, 10), score=0.7, weight=2), answer(1, box(6, 14), score=0.8), mode="best")
    assert (masks_of(row) == box(2, 10)).all()
    assert combined(answer(0), answer(1), mode="best")[0].status == Status.NO_OBJECT


def test_agree_keeps_only_what_all_have() -> None:
    alike = answer(0, box(2, 10)), answer(1, box(3, 10))
    (row,) = combined(*alike, mode="agree")
    assert (masks_of(row) == box(2, 10)).all()
    assert combined(*alike, answer(2), mode="agree")[0].status == Status.NO_OBJECT
    assert combined(*alike, answer(2, box(6, 18)), mode="agree")[0].status == Status.NO_OBJECT
    assert combined(*alike, mode="agree", agree_iou=0.9)[0].status == Status.NO_OBJECT
    with pytest.raises(CombineError, match="only a has an answer"):
        combined(answer(0, box(2, 10)), absent={"b": "has no row"}, mode="agree")


def test_what_is_absent_or_was_noted_is_said_in_the_row() -> None:
    (row,) = combined(answer(0, box(2, 10), error="Note: cut"), absent={"b": "has no row", "c": "failed: VideoError"})
    assert row.error == "Note: cut; combined without b (has no row), c (failed: VideoError)"
    (row,) = combined(answer(0, box(2, 10)), absent={"b": "has no row"}, mode="best")
    assert row.error == "Note: combined without b (has no row)"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"expression": "the cat"}, "a and b differ in expression: 'the dog' and 'the cat'"),
        ({"frames": ["1", "2", "3"]}, "a and b differ in frames: other names"),
        ({"height": 11}, "a and b differ in height: 10 and 11"),
    ],
)
def test_answers_about_something_else_are_not_mixed(other, says) -> None:
    with pytest.raises(CombineError, match=says):
        combined(answer(0, box(2, 10)), answer(1, box(2, 10), **other))


def test_other_votes_and_modes_are_refused() -> None:
    with pytest.raises(UsageError, match="mask_share"):
        CombineSettings(mask_share=0)
    with pytest.raises(UsageError, match="mode"):
        CombineSettings(mode="median")  # type: ignore[arg-type]


def test_equal_masks_come_out_as_they_were() -> None:
    masks = np.random.default_rng(0).random((FRAMES, HEIGHT, WIDTH)) > 0.5
    (row,) = combined(*(answer(number, masks) for number in range(3)))
    assert row.masks == encode_masks(masks)
