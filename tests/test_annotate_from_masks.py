"""``annotate --masks``: a corrected mask is carried through its video; everything else is taken over as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import RunConfig
from pipeline.dataset import MaskDataset, decode_mask, encode_masks
from pipeline.errors import UsageError
from pipeline.schema import MaskRow
from pipeline.versions import make_version
from pipeline.versions.edits import parse_edits
from tests.conftest import run_job


def rows_of(output: Path) -> dict[tuple[str, str, int], MaskRow]:
    rows = [record.row for record in MaskDataset(str(output))]
    return {(row.video_id, row.expression_id, row.object_id): row for row in rows}


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
    key = next(key for key, row in before.items() if row.status == "ok")
    row = before[key]
    mask = np.zeros((1, row.height, row.width), bool)
    mask[0, 4:20, 4:20] = True
    rle = encode_masks(mask)[0]
    edit = {"video_id": key[0], "expression_id": key[1], "object_id": key[2], "action": "masks",
            "masks": {row.frames[3]: dict(rle)}}  # fmt: skip
    make_version(str(out), parse_edits([json.dumps(edit)], name="e"), str(corrected))
    manifest.write_text("\n".join([*lines, json.dumps(extra)]))
    arguments = ["--manifest", manifest, *arguments, "--masks", corrected, "--output", new, "--max-failed", "0.5"]
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
    beside = changed.masks[4]
    assert beside is not None
    assert (decode_mask(beside) & mask[0]).any()
    assert changed.masks != rows_of(corrected)[key].masks
    again = run_job("annotate", *arguments, RAY_ADDRESS=ray_address)
    assert "3 of them already done" in again.stdout
    other = run_job("annotate", *arguments[:-2], "--from-frame", row.frames[2], RAY_ADDRESS=ray_address)
    assert (other.returncode, "from_frame" in other.stderr) == (2, True)


def test_settings_that_need_masks() -> None:
    with pytest.raises(UsageError, match="name a dataset with --masks"):
        RunConfig(manifest="m", model="nano", output="o", from_frame="00001")
    with pytest.raises(UsageError, match="exclude each other"):
        RunConfig(manifest="m", model="nano", output="o", masks="d", merge_tracks=0.9)
