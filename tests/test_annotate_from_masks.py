"""``annotate --masks``: a corrected mask is carried through its video; everything else is taken over as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import RunConfig
from pipeline.dataset import MaskDataset, decode_mask, encode_masks
from pipeline.dry_run import plan
from pipeline.errors import UsageError
from pipeline.schema import MaskRow
from pipeline.versions import make_version
from pipeline.versions.edits import parse_edits
from tests.conftest import run_job


def rows_of(output: Path) -> dict[tuple[str, str, int], MaskRow]:
    rows = [record.row for record in MaskDataset(str(output))]
    return {(row.video_id, row.expression_id, row.object_id): row for row in rows}


def shown_object(clips: Path, rows: dict) -> tuple[tuple[str, str, int], list]:
    """A row of an expression of one object that frames 2 to 4 show, and the object's true masks."""
    meta = json.loads((clips / "meta_expressions.json").read_text())["videos"]
    masks = json.loads((clips / "mask_dict.json").read_text())
    for key, row in rows.items():
        numbers = meta[key[0]]["expressions"][key[1]]["anno_id"]
        if row.status == "ok" and len(numbers) == 1 and all(masks[str(numbers[0])][2:5]):
            return key, masks[str(numbers[0])]
    raise AssertionError("no such row")


@pytest.mark.slow
def test_the_track_follows_a_correction(clips: Path, ray_address: str, tmp_path: Path) -> None:
    lines = (clips / "manifest.jsonl").read_text().splitlines()
    out, corrected, new = (tmp_path / name for name in ("out", "corrected", "new"))
    manifest = tmp_path / "manifest.jsonl"
    extra = {**json.loads(lines[0]), "expression_id": "more", "expression": "something else"}
    arguments = ["--model", "nano", "--videos", clips]
    manifest.write_text("\n".join(lines))
    done = run_job("annotate", "--manifest", manifest, *arguments, "--output", out, RAY_ADDRESS=ray_address)
    assert done.returncode == 0, done.stderr
    before = rows_of(out)
    key, truth = shown_object(clips, before)
    row = before[key]
    mask = decode_mask(truth[3])[None]
    mask[0, *np.argwhere(mask[0])[0]] = False  # not what the model may have found itself
    rle = encode_masks(mask)[0]
    edit = {"video_id": key[0], "expression_id": key[1], "object_id": key[2], "action": "masks",
            "masks": {row.frames[3]: dict(rle)}}  # fmt: skip
    make_version(str(out), parse_edits([json.dumps(edit)], name="e"), str(corrected))
    manifest.write_text("\n".join([*lines, json.dumps(extra)]))
    arguments = ["--manifest", manifest, *arguments, "--masks", corrected, "--split-expressions", "1", "--output", new,
                 "--max-failed", "0.5"]  # fmt: skip
    dry = run_job("annotate", *arguments, "--dry-run", "--rate-of", out, "--price-per-gpu-hour", "2")
    assert dry.returncode == 0, dry.stderr
    assert f"masks: {corrected}, version " in dry.stdout
    assert f"1 of {len(before)} rows have given ones" in dry.stdout
    assert "GPU-hours" in dry.stdout
    assert not new.exists()
    done = run_job("annotate", *arguments, RAY_ADDRESS=ray_address)
    assert done.returncode == 0, done.stderr
    after = rows_of(new)
    missing = after.pop((key[0], "more", 0))
    assert (missing.status, missing.error.partition(":")[0]) == ("failed", "NoMasksError")
    assert after.keys() == before.keys()
    for other, found in after.items():
        assert found.parent
        if other != key:
            assert (found.masks, found.scores, found.answer) == (
                before[other].masks, before[other].scores, before[other].answer
            )  # fmt: skip
    changed = after[key]
    assert (changed.masks[3], changed.keyframes, changed.source) == (rle, [3], "person")
    for index in (2, 4):
        found, true = changed.masks[index], decode_mask(truth[index])
        assert found is not None
        assert (decode_mask(found) & true).sum() > 0.5 * (decode_mask(found) | true).sum()
    again = run_job("annotate", *arguments, RAY_ADDRESS=ray_address)
    assert "3 of them already done" in again.stdout
    other = run_job("annotate", *arguments[:-2], "--from-frame", row.frames[2], RAY_ADDRESS=ray_address)
    assert (other.returncode, "from_frame" in other.stderr) == (2, True)


def test_a_dry_run_finds_that_there_are_no_masks(clips: Path, tmp_path: Path) -> None:
    config = RunConfig(
        manifest=str(clips / "manifest.jsonl"), model="nano", output=str(tmp_path / "o"), masks=str(tmp_path)
    )
    with pytest.raises(UsageError, match="not a mask dataset"):
        plan(config)


def test_settings_that_need_masks() -> None:
    with pytest.raises(UsageError, match="name a dataset with --masks"):
        RunConfig(manifest="m", model="nano", output="o", from_frame="00001")
    with pytest.raises(UsageError, match="exclude each other"):
        RunConfig(manifest="m", model="nano", output="o", masks="d", merge_tracks=0.9)
