"""Edits by ids: what each does to rows, and that a file which does not fit changes nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import MaskDataset, OutputDirectory, decode_mask, encode_masks
from pipeline.errors import UsageError
from pipeline.schema import MaskRow, Status
from pipeline.versions import diff, make_version, read_edits
from pipeline.versions.edits import parse_edits
from tests.conftest import run_job
from tests.dataset.conftest import build_row


def write_dataset(folder: Path, videos: int = 3) -> str:
    with OutputDirectory(str(folder)) as output:
        output.begin(identity={"model_fingerprint": "3f2a"}, description={"model": "m"}, parts=2)
        for number in range(videos):
            video_id = f"v{number}"
            rows = [build_row(video_id, str(e), seed=10 * number + e) for e in range(3)]
            rows.append(build_row(video_id, "2", 1, seed=10 * number + 5))
            rows.append(
                MaskRow(video_id=video_id, expression_id="bad", expression="?", status="failed", error="VideoError: x")
            )
            output.commit(rows)
        output.finish({})
    return str(folder)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_dataset(tmp_path_factory.mktemp("versions") / "out")


def rows_of(url: str) -> dict[tuple[str, str, int], MaskRow]:
    rows = [record.row for record in MaskDataset(url)]
    return {(row.video_id, row.expression_id, row.object_id): row for row in rows}


def edit(action: str, expression_id: str = "0", object_id: int | None = 0, **more: object) -> dict:
    return {"video_id": "v1", "expression_id": expression_id, "object_id": object_id, "action": action, **more}


def changed(parent: str, tmp_path: Path, *edits: dict) -> dict[tuple[str, str, int], MaskRow]:
    lines = parse_edits(map(json.dumps, edits), name="edits.jsonl")
    make_version(parent, lines, str(tmp_path / "new"))
    return rows_of(str(tmp_path / "new"))


def square() -> dict:
    mask = np.zeros((1, 12, 17), bool)
    mask[0, 2:5, 3:8] = True
    rle = encode_masks(mask)[0]
    assert rle is not None
    return dict(rle)


def test_rows_that_no_edit_names_are_the_same_and_say_where_they_are_from(parent: str, tmp_path: Path) -> None:
    before = rows_of(parent)
    after = changed(parent, tmp_path, edit("drop"), edit("keep", "1"), edit("undecided", "2", None, comment="?"))
    assert before.keys() - after.keys() == {("v1", "0", 0)}
    assert after["v1", "1", 0].source == "accepted"
    assert after["v0", "0", 0].source == "model"
    assert len({row.parent for row in after.values()}) == 1
    for key, row in after.items():
        assert (row.masks, row.scores, row.areas, row.bboxes, row.frames) == (
            before[key].masks, before[key].scores, before[key].areas, before[key].bboxes, before[key].frames
        )  # fmt: skip
    assert rows_of(parent) == before


def test_rename_frames_and_masks(parent: str, tmp_path: Path) -> None:
    before = rows_of(parent)["v1", "0", 0]
    after = changed(
        parent,
        tmp_path,
        edit("rename", expression="the red thing"),
        edit("frames", frames=["00002", "00003"]),
        edit("masks", "1", masks={"00000": square(), "00001": None}, source="cvat", comment="by hand"),
    )
    row = after["v1", "0", 0]
    assert (row.expression, row.source) == ("the red thing", "person")
    assert row.masks == [None, None, *before.masks[2:]]
    assert (row.areas[1], row.bboxes[1], row.scores[:2]) == (0, None, [0.5, 0.0])
    other = after["v1", "1", 0]
    assert (other.areas[:2], other.bboxes[0], other.scores[:2]) == ([15, 0], [3.0, 2.0, 5.0, 3.0], [1.0, 0.0])
    assert other.source == "cvat"
    kept = [json.loads(line) for line in (tmp_path / "new" / "edits.jsonl").read_text().splitlines()]
    assert kept[2]["comment"] == "by hand"


def test_split_merge_add_and_absent(parent: str, tmp_path: Path) -> None:
    before = rows_of(parent)
    after = changed(
        parent,
        tmp_path,
        edit("split", "0", at="00002"),
        edit("merge", "2", **{"with": [1]}),
        edit("add", "new", None, expression="a bird", masks={"00001": square()}),
        edit("add", "bad", None, masks={"00002": square()}),
        edit("absent", "1"),
    )
    masks = before["v1", "0", 0].masks
    assert after["v1", "0", 0].masks == [*masks[:2], None, None]
    assert after["v1", "0", 1].masks == [None, None, *masks[2:]]
    one, other, union = before["v1", "2", 0], before["v1", "2", 1], after["v1", "2", 0]
    assert ("v1", "2", 1) not in after
    assert (decode_mask(union.masks[1]) == (decode_mask(one.masks[1]) | decode_mask(other.masks[1]))).all()
    assert (after["v1", "new", 0].expression, after["v1", "new", 0].areas) == ("a bird", [0, 15, 0, 0])
    assert (after["v1", "bad", 0].status, after["v1", "bad", 0].error) == ("ok", None)
    assert (after["v1", "1", 0].status, any(after["v1", "1", 0].masks)) == (Status.NO_OBJECT, False)


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ([edit("drop", "7")], "e:1: there is no video 'v1', expression '7', object 0"),
        ([{**edit("drop"), "video_id": "v9"}], "e:1: there is no video 'v9'"),
        ([edit("drop"), edit("rename", expression="x")], "e:2: contradicts e:1"),
        ([edit("masks", masks={"00009": None})], "e:1: video 'v1' has no frame '00009'"),
        ([edit("masks", masks={"00001": {"size": [2, 2], "counts": [4]}})], r"is of size \[2, 2\], the video of \[12"),
        ([edit("masks", masks={"00001": {"size": [12, 17], "counts": "!"}})], "e:1: mask of frame '00001'"),
        ([edit("frames", frames=["00003", "00001"])], "comes after"),
        ([edit("frames", object_id=None, frames=["0", "1"])], "needs object_id"),
        ([edit("add", "new", None, masks={"00001": None})], "a new one needs its text"),
        ([edit("explode")], "action is 'explode'; it must be one of undecided"),
        ([edit("drop", certainty=1)], "does not know certainty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_does_not_fit_makes_nothing(parent: str, tmp_path: Path, edits: list[dict], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_version(parent, parse_edits(map(json.dumps, edits), name="e"), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_diff_names_exactly_what_was_changed(parent: str, tmp_path: Path) -> None:
    changed(
        parent,
        tmp_path,
        edit("drop", "2", 1),
        edit("rename", "1", expression="else"),
        edit("masks", masks={"00001": square()}),
        edit("add", "new", None, expression="a bird", masks={"00001": square()}),
    )
    found = diff(parent, str(tmp_path / "new"))
    assert found.dropped == [("v1", "2", 1)]
    assert found.added == [("v1", "new", 0)]
    assert found.renamed == [(("v1", "1", 0), "the thing 1", "else")]
    (item,) = found.changed
    assert (item.row, item.frames, item.status) == (("v1", "0", 0), 1, ("ok", "ok"))
    old, new = (decode_mask(rows_of(url)["v1", "0", 0].masks[1]) for url in (parent, str(tmp_path / "new")))
    assert item.iou == pytest.approx(((old & new).sum() / (old | new).sum() + 1) / 2)
    assert found.same == 15 - 3
    assert diff(parent, parent).same == 15


def test_a_version_of_a_version_keeps_its_ancestors(parent: str, tmp_path: Path) -> None:
    changed(parent, tmp_path, edit("drop"))
    make_version(str(tmp_path / "new"), parse_edits([], name="none"), str(tmp_path / "newer"))
    run = json.loads((tmp_path / "newer" / "run.json").read_text())
    first, second = run["ancestors"]
    assert first == next(iter(rows_of(str(tmp_path / "new")).values())).parent
    assert second == run["parent"]
    assert run["identity"]["source_model_fingerprint"] == "3f2a"
    with pytest.raises(UsageError, match="made with another configuration"):
        make_version(parent, parse_edits([], name="none"), str(tmp_path / "newer"))


def test_the_commands(parent: str, tmp_path: Path) -> None:
    file = tmp_path / "edits.jsonl"
    file.write_text("\n".join(map(json.dumps, [edit("drop"), edit("undecided", "1", reason="score 0.10")])))
    assert read_edits(str(file)).undecided == 1
    result = run_job("import", "--predictions", parent, "--edits", file, "--output", tmp_path / "new")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "edits: 1 drop; 1 lines are undecided"
    result = run_job("diff", parent, tmp_path / "new", "--json", tmp_path / "d.json")
    assert result.stdout.splitlines() == [
        "dropped  video 'v1', expression '0', object 0",
        "1 dropped, 0 added, 0 renamed, 0 changed, 14 the same",
    ]
    assert json.loads((tmp_path / "d.json").read_text())["same"] == 14
