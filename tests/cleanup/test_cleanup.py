"""Clean-up of masks: what counts as a speck or a hole, that it is off by default, and its counts in commands."""

import json

import numpy as np
import pytest

from pipeline.cleanup.cleaner import BLANKED, HOLES, SPECKS, Cleaner
from pipeline.cleanup.settings import CleanUp
from pipeline.dataset import MaskDataset, decode_masks, encode_masks
from pipeline.errors import UsageError
from tests.dataset.conftest import build_row


def picture(*lines):
    return np.array([[character == "#" for character in line] for line in lines])


DIRTY = picture(
    "#.........",
    "..######..",
    "..#....#..",
    "..#.##.#.#",
    "..#....#..",
    "..######..",
    ".#........",
    "##......##",
)


@pytest.mark.parametrize(
    ("settings", "expected", "counts"),
    [
        ({}, DIRTY, {}),
        (
            {"specks_below": 3},
            picture(
                "..........",
                "..######..",
                "..#....#..",
                "..#....#..",
                "..#....#..",
                "..######..",
                ".#........",
                "##........",
            ),
            {SPECKS: 4},
        ),
        (
            {"specks_below": 3, "holes_below": 13},
            picture(
                "..........",
                "..######..",
                "..######..",
                "..######..",
                "..######..",
                "..######..",
                ".#........",
                "##........",
            ),
            {SPECKS: 4, HOLES: 1},
        ),
        ({"holes_below": 10}, DIRTY, {}),
    ],
)
def test_specks_and_holes(settings, expected, counts):
    cleaner = Cleaner(CleanUp(**settings))
    rle = encode_masks(DIRTY[None])[0]
    (cleaned,) = cleaner.track([rle], [1.0])
    assert np.array_equal(decode_masks([cleaned], *DIRTY.shape)[0], expected)
    assert dict(+cleaner.counts) == counts


def test_a_mask_of_specks_alone_is_gone_and_an_open_bay_is_no_hole():
    cleaner = Cleaner(CleanUp(specks_below=5, holes_below=5))
    bay = picture("####", "#...", "####")
    assert cleaner.track([encode_masks(picture("#..#")[None])[0], None, encode_masks(bay[None])[0]], []) == [
        None,
        None,
        encode_masks(bay[None])[0],
    ]


def test_frames_are_blanked_by_their_own_score():
    rle = encode_masks(DIRTY[None])[0]
    cleaner = Cleaner(CleanUp(blank_below=0.5))
    assert cleaner.track([rle, rle, None], [0.4, 0.5, 0.1]) == [None, rle, None]
    assert cleaner.counts[BLANKED] == 1
    with pytest.raises(UsageError):
        CleanUp(blank_below=2)


def test_commands_clean_only_when_asked_and_print_counts(tmp_path, job_here, make_dataset):
    dataset, manifest = make_dataset
    before = {record.row.expression_id: record.decode() for record in MaskDataset(dataset)}
    job = job_here("curate")
    code, said, _ = job("--predictions", dataset, "--output", tmp_path / "plain")
    assert (code, "clean-up" in said) == (0, False)
    assert all(np.array_equal(r.decode(), before[r.row.expression_id]) for r in MaskDataset(str(tmp_path / "plain")))
    code, said, _ = job("--predictions", dataset, "--output", tmp_path / "clean", "--specks-below", 4)
    assert code == 0
    assert "specks removed" in said
    for record in MaskDataset(str(tmp_path / "clean")):
        masks = record.decode()
        assert masks.sum() < before[record.row.expression_id].sum()
        assert record.row.areas == [int(mask.sum()) for mask in masks]
        assert [box is None for box in record.row.bboxes] == [not mask.any() for mask in masks]
    options = ["--predictions", dataset, "--manifest", manifest, "--format", "coco"]
    code, said, _ = job_here("export")(*options, "--output", tmp_path / "c.json", "--specks-below", 4)
    assert (code, "specks removed" in said) == (0, True)


@pytest.fixture
def make_dataset(tmp_path):
    from pipeline.dataset import DatasetWriter

    (tmp_path / "out" / "masks").mkdir(parents=True)
    rows = [build_row("v", str(number), seed=number) for number in range(2)]
    DatasetWriter(str(tmp_path / "out")).commit(rows)
    (tmp_path / "out" / "run.json").write_text("{}")
    lines = [
        {"video_id": "v", "video": "v.mp4", "expression_id": r.expression_id, "expression": r.expression} for r in rows
    ]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(tmp_path / "out"), str(tmp_path / "m.jsonl")
