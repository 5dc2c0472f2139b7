"""Fitting and judging scores: what is fitted on one part ranks the other, and the command writes everything."""

import csv
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from pipeline.model.score import TrackEvidence, track_score
from pipeline.workshop.nano.ranking import (
    RankedTrack,
    fit_weights,
    kept_mean,
    read_tracks,
    scores_of,
    spearman,
    truths_of,
    write_tracks,
)
from pipeline.workshop.nano.ranking_report import constants, orders, plot, report
from tests.conftest import run_workshop

TRUE_WEIGHTS = TrackEvidence(seg_probability=0.0, predicted_iou=4.0, presence=0.0, agreement=3.0, stability=0.0)


def drawn_tracks(seed, count=400):
    """Tracks whose J&F follows from two pieces of evidence, with noise."""
    random = np.random.default_rng(seed)
    tracks = []
    for number in range(count):
        evidence = TrackEvidence(**dict(zip(vars(TRUE_WEIGHTS), random.random(5), strict=True)))
        truth = track_score(evidence, TRUE_WEIGHTS, -3.5) + random.normal(0, 0.05)
        tracks.append(RankedTrack(f"v{number // 6}", "0", 0, "motion", False, evidence, float(np.clip(truth, 0, 1))))
    return tracks


def test_the_fit_finds_what_matters_and_ranks_other_tracks():
    weights, bias = fit_weights(drawn_tracks(0))
    assert weights.predicted_iou == pytest.approx(4, abs=0.8)
    assert weights.agreement == pytest.approx(3, abs=0.8)
    assert max(weights.seg_probability, weights.presence, weights.stability) < 0.5
    test = drawn_tracks(1)
    assert spearman(scores_of(test, weights, bias), truths_of(test)) > 0.9
    assert np.abs(scores_of(test, weights, bias) - truths_of(test)).mean() < 0.1, "a score estimates J&F"


def test_evidence_that_misleads_gets_no_weight():
    tracks = [
        replace(one, evidence=replace(one.evidence, stability=1 - one.evidence.agreement)) for one in drawn_tracks(0)
    ]
    weights, _ = fit_weights(tracks)
    assert weights.stability == 0
    assert weights.agreement > 0


def test_kept_shares_by_hand():
    scores, truth = np.array([0.9, 0.1, 0.5, 0.7]), np.array([1.0, 0.0, 0.2, 0.6])
    assert kept_mean(scores, truth, 1.0) == pytest.approx(0.45)
    assert kept_mean(scores, truth, 0.5) == pytest.approx(0.8)
    assert kept_mean(scores, truth, 0.01) == 1
    assert spearman(scores, truth) == pytest.approx(1)
    assert spearman(-scores, truth) == pytest.approx(-1)
    assert spearman(np.ones(4), truth) == 0


def test_tracks_that_no_frame_shows_come_last():
    tracks = drawn_tracks(0, 6)
    tracks[2] = replace(tracks[2], empty=True, evidence=TrackEvidence(**dict.fromkeys(vars(TRUE_WEIGHTS), 1.0)))
    assert scores_of(tracks)[2] == 0
    assert orders(tracks, TRUE_WEIGHTS, 0.0)["[SEG] probability x predicted IoU"][2] == 0


def test_tables_read_back(tmp_path):
    tracks = drawn_tracks(0, 20)
    write_tracks(tmp_path / "t.csv", tracks)
    assert read_tracks(tmp_path / "t.csv") == tracks


def test_report_and_plot():
    train, test = drawn_tracks(0), drawn_tracks(1)
    weights, bias = fit_weights(train)
    text = report(train, test, weights, bias)
    assert "400 tracks of 67 held-out clips" in text
    ten = next(line for line in text.splitlines() if line.startswith("| 10 %"))
    every = next(line for line in text.splitlines() if line.startswith("| 100 %"))
    assert float(ten.split("|")[2]) > float(every.split("|")[2]) + 15
    picture = ET.fromstring(plot(orders(test, weights, bias), truths_of(test)))
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 4
    scope = {"TrackEvidence": TrackEvidence}
    exec(constants(weights, bias), scope)
    assert (scope["WEIGHTS"], scope["BIAS"]) == (weights, bias)


def test_the_command(untrained, tmp_path):
    arguments = ("--model", untrained, "--output", tmp_path / "out", "--videos", "1", "--short")
    first = run_workshop("fit_scores", *arguments)
    assert first.returncode == 0, first.stderr
    lines = list(csv.DictReader((tmp_path / "out" / "tracks-test.csv").open()))
    assert len(lines) == 6
    assert all(0 <= float(line[name]) <= 1 for line in lines for name in (*vars(TRUE_WEIGHTS), "j_and_f"))
    assert "WEIGHTS = TrackEvidence(" in first.stdout
    assert (tmp_path / "out" / "ranking.svg").read_text().startswith("<svg")
    again = run_workshop("fit_scores", *arguments)
    assert "segmenting" in first.stdout
    assert "segmenting" not in again.stdout
    assert again.stdout.splitlines()[-12:] == first.stdout.splitlines()[-12:]
