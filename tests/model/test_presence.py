"""Presence: a probability from few pieces of evidence, in rows and results, that never touches a mask."""

import json
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.model.presence import Calibration, PresenceEvidence, log_odds, presence_evidence
from pipeline.model.sa2va import Sa2VA
from pipeline.model.score import TrackEvidence

POOR = TrackEvidence(seg_probability=1, predicted_iou=0.2, presence=0.3, agreement=0.4, stability=1)
GOOD = TrackEvidence(seg_probability=1, predicted_iou=0.9, presence=0.8, agreement=0.7, stability=1)


def test_an_expression_is_as_present_as_its_best_object():
    assert presence_evidence(0.5, [POOR, GOOD]) == PresenceEvidence(
        yes=0, named=1, predicted_iou=0.9, object_presence=0.8, agreement=0.7
    )
    assert presence_evidence(None, []) == PresenceEvidence(
        yes=0, named=0, predicted_iou=0, object_presence=0, agreement=0
    )


@pytest.mark.parametrize(
    ("probability", "odds"), [(0.5, 0), (0.9, 2.1972), (0.0, -8), (1.0, 8)], ids=["even", "likely", "never", "always"]
)
def test_log_odds_are_bounded(probability, odds):
    assert log_odds(probability) == pytest.approx(odds, abs=1e-3)


def test_without_a_calibration_yes_and_a_named_object_count():
    said_yes, said_no = presence_evidence(0.95, [GOOD]), presence_evidence(0.05, [GOOD])
    unnamed = presence_evidence(0.95, [])
    plain = Calibration()
    assert plain.probability(said_yes) == pytest.approx(0.95)
    assert plain.probability(said_no) == pytest.approx(0.05)
    assert plain.probability(unnamed) < plain.probability(said_yes)


def test_a_calibration_beside_the_checkpoint_is_used(tmp_path):
    assert Calibration.of_checkpoint(tmp_path) == Calibration()
    (tmp_path / "presence.json").write_text(json.dumps({"weights": {"bias": 1.5, "yes": 0.25}}))
    assert Calibration.of_checkpoint(tmp_path) == Calibration(bias=1.5, yes=0.25)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weights": {"yes": "much"}}', '{"weights": {"volume": 1}}', '{"weights": {"yes": NaN}}']
)
def test_a_damaged_calibration_is_one_line(text):
    with pytest.raises(UsageError, match=r"calibration\.json: not a presence calibration"):
        Calibration.from_json(text, origin="calibration.json")


def test_results_say_it_and_masks_are_the_same_without_the_question(untrained: Path, clips: Path):
    model = Sa2VA.from_checkpoint(untrained)
    frames = next((clips / "JPEGImages").iterdir())
    asked = model.segment(frames, ["the square", "the dog"])
    plain = model.segment(frames, ["the square", "the dog"], presence_question=None)
    for one, other in zip(asked, plain, strict=True):
        assert one.answer == other.answer
        assert [track.masks for track in one.tracks] == [track.masks for track in other.tracks]
        assert 0 <= one.presence <= 1
    rows = asked.rows(video_id="v")
    assert [row.presence for row in rows] == [one.presence for one in asked for _ in one.tracks or [None]]
