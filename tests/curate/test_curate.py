"""Curating: what is kept and why, the split by video, and a dataset that everything else reads."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from pipeline.curate import Rules
from pipeline.curate.run import curate
from pipeline.curate.select import (
    FAILED,
    LICENSE,
    LOW_PRESENCE,
    LOW_SCORE,
    NO_OBJECT,
    NOT_PICKED,
    SAME_MASKS,
    SAME_SENTENCE,
    SMALL,
    TOO_MANY,
    select,
)
from pipeline.curate.shards import ShardWriter
from pipeline.dataset import MaskDataset, OutputDirectory, decode_masks, encode_masks
from pipeline.dataset.tables import row_table
from pipeline.errors import StorageError, UsageError
from pipeline.schema import MASKS_SCHEMA, MaskRow, Status
from tests.conftest import run_job
from tests.dataset.conftest import build_row


def failed(video_id: str, expression_id: str) -> MaskRow:
    return MaskRow(
        video_id=video_id, expression_id=expression_id, expression="?", status=Status.FAILED, error="VideoError: cut"
    )


def no_object(video_id: str, expression_id: str) -> MaskRow:
    nothing = {"masks": [None] * 4, "areas": [0] * 4, "bboxes": [None] * 4, "scores": [0.0] * 4, "score": 0.0}
    return build_row(video_id, expression_id, status=Status.NO_OBJECT, **nothing)


def write_source(folder: Path, videos: int = 12) -> Path:
    """Per video: two good rows of different score, one with the masks of the first, one failed, one without object."""
    with OutputDirectory(str(folder)) as output:
        output.begin(identity={"model_fingerprint": "3f2a", "num_keyframes": 5}, description={"model": "m"})
        for number in range(videos):
            video_id = f"clip{number:02d}"
            rows = [
                build_row(video_id, "0", seed=number, score=0.9),
                build_row(video_id, "1", seed=100 + number, score=0.2 + 0.05 * number),
                build_row(video_id, "2", seed=number, score=0.5),
            ]
            output.commit([*rows, failed(video_id, "3"), no_object(video_id, "4")])
        output.finish({})
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("curate") / "out")


def keys(folder: Path) -> list[tuple[str, str]]:
    return [(record.row.video_id, record.row.expression_id) for record in MaskDataset(str(folder))]


def chosen(rows: list[MaskRow], **rules: object) -> tuple[list[int], dict[str, int]]:
    kept, dropped = select(pa.concat_tables([row_table(row) for row in rows]), Rules(**rules))
    return kept, {reason: count for reason, count in dropped.items() if count}


def row(expression_id: str = "0", **changes: object) -> MaskRow:
    return build_row("a", expression_id, **{"seed": int(expression_id) if expression_id.isdigit() else 0, **changes})


THIRD = {"masks": [None] * 4, "areas": [0] * 4, "bboxes": [None] * 4}


@pytest.mark.parametrize(
    ("rows", "rules", "kept", "dropped"),
    [
        ([row(), failed("a", "1"), no_object("a", "2")], {}, [0], {FAILED: 1, NO_OBJECT: 1}),
        ([row(license="CC0"), row("1", license="nc"), row("2")], {"only_license": ["cc0"]}, [0], {LICENSE: 2}),
        ([row(license="CC0"), row("1", license="nc"), row("2")], {"exclude_license": ["NC"]}, [0, 2], {LICENSE: 1}),
        ([row(), no_object("a", "2")], {"keep_no_object": True, "min_score": 0.5, "max_per_video": 1}, [0, 1], {}),
        ([row(score=0.5), row("1", score=0.49)], {"min_score": 0.5}, [0], {LOW_SCORE: 1}),
        ([row(score=None), row("1", score=0.0)], {"min_score": 0.1}, [], {LOW_SCORE: 2}),
        ([row(), row("1", **THIRD)], {}, [0], {SMALL: 1}),
        ([row(areas=[0, 30, 50, 0]), row("1", areas=[0, 41, 41, 0])], {"min_area": 40.5}, [1], {SMALL: 1}),
        ([row(expression="The  Dog"), row("1", expression="the dog", score=0.8)], {}, [1], {SAME_SENTENCE: 1}),
        ([row(expression="a"), row(object_id=1, seed=9, expression="a")], {}, [0, 1], {}),
        ([row(), row("1", seed=0, score=0.8), row("2", seed=0)], {}, [1], {SAME_MASKS: 2}),
        ([row(), row("1", seed=0)], {"keep_duplicates": True}, [0, 1], {}),
        ([row(score=s, expression_id=str(i)) for i, s in enumerate((0.1, 0.9, 0.5))], {"max_per_video": 2}, [1, 2],
         {TOO_MANY: 1}),
        ([row("1"), row("0", seed=5)], {"max_per_video": 1}, [1], {TOO_MANY: 1}),
    ],
    ids=["status", "only a licence", "not a licence",
         "no object kept", "score", "no score", "never visible", "area", "sentence", "two objects",
         "masks", "duplicates kept", "per video", "ties by id"],
)  # fmt: skip
def test_rules(rows: list[MaskRow], rules: dict, kept: list[int], dropped: dict) -> None:
    assert chosen(rows, **rules) == (kept, dropped)


def test_areas_may_be_equal_where_masks_are_not() -> None:
    one, other = row(), row("1", seed=0)
    masks = decode_masks(one.masks, 12, 17)
    other.masks = encode_masks(masks[:, ::-1, ::-1])
    assert one.areas == other.areas
    assert chosen([one, other]) == ([0, 1], {})


def test_counts_before_and_after(source: Path, tmp_path: Path) -> None:
    curation = curate(str(source), str(tmp_path / "new"), Rules(min_score=0.4))
    assert (curation.before.videos, curation.before.expressions, curation.before.rows) == (12, 60, 60)
    assert curation.dropped == {
        LICENSE: 0, FAILED: 12, NO_OBJECT: 12,
        LOW_PRESENCE: 0, LOW_SCORE: 4, SMALL: 0, SAME_SENTENCE: 0, SAME_MASKS: 12,
        TOO_MANY: 0, NOT_PICKED: 0,
    }  # fmt: skip
    assert curation.after.rows == 60 - sum(curation.dropped.values()) == len(keys(tmp_path / "new"))
    run = json.loads((tmp_path / "new" / "run.json").read_text())
    assert (run["before"]["rows"], run["counts"]["rows"]) == (60, 20)
    assert run["dropped"][LOW_SCORE] == 4


def test_kept_rows_are_unchanged_and_in_few_files(source: Path, tmp_path: Path) -> None:
    curate(str(source), str(tmp_path / "new"), Rules())
    (file,) = (tmp_path / "new" / "masks").iterdir()
    table = pq.read_table(file)
    assert table.schema.equals(MASKS_SCHEMA)
    old = {(r["video_id"], r["expression_id"]): r for r in pq.read_table(source / "masks").to_pylist()}
    for new in table.to_pylist():
        assert old[new["video_id"], new["expression_id"]] == new


def test_the_same_selection_twice_is_the_same_dataset(source: Path, tmp_path: Path) -> None:
    rules = Rules(val_share=0.3, max_per_video=1)
    for name in ("one", "two"):
        curate(str(source), str(tmp_path / name), rules)
    (tmp_path / "one" / "masks" / "train-00007.parquet").write_bytes(b"left by an attempt that was killed")
    curate(str(source), str(tmp_path / "one"), rules)
    contents = [
        {file.name: file.read_bytes() for file in (tmp_path / name / "masks").iterdir()} for name in ("one", "two")
    ]
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"train-00000.parquet", "validation-00000.parquet"}


def test_another_selection_does_not_mix_in(source: Path, tmp_path: Path) -> None:
    curate(str(source), str(tmp_path / "new"), Rules())
    with pytest.raises(UsageError, match=r"selected_by_min_score: 0\.0 -> 0\.5"):
        curate(str(source), str(tmp_path / "new"), Rules(min_score=0.5))
    with pytest.raises(UsageError, match="the dataset to select from"):
        curate(str(source), str(source), Rules())
    with pytest.raises(UsageError, match="not a mask dataset"):
        curate(str(tmp_path / "nothing"), str(tmp_path / "other"), Rules())


def test_a_video_is_in_one_split_whatever_else_there_is() -> None:
    ids = [f"v{i}" for i in range(2000)]
    split = [Rules(val_share=0.2).split_of(i) for i in ids]
    assert 0.17 < Counter(split)["validation"] / len(ids) < 0.23
    assert split != [Rules(val_share=0.2, seed=1).split_of(i) for i in ids]
    more = [Rules(val_share=0.4).split_of(i) for i in ids]
    assert all(b == "validation" for a, b in zip(split, more, strict=True) if a == "validation")
    assert {Rules().split_of(i) for i in ids} == {"train"}


def test_splits_load_by_name(source: Path, tmp_path: Path) -> None:
    import datasets

    curation = curate(str(source), str(tmp_path / "new"), Rules(val_share=0.4))
    loaded = datasets.load_dataset(str(tmp_path / "new"), cache_dir=str(tmp_path / "cache"))
    videos = {name: set(part["video_id"]) for name, part in loaded.items()}
    assert videos["train"]
    assert videos["validation"]
    assert not videos["train"] & videos["validation"]
    assert {name: part.num_rows for name, part in loaded.items()} == {n: c["rows"] for n, c in curation.splits.items()}


def test_nothing_is_written_where_a_split_would_be_empty(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of 12 videos falls into validation"):
        curate(str(source), str(tmp_path / "new"), Rules(val_share=1e-9))
    with pytest.raises(
        UsageError, match=r"none of 60 rows would be kept \(12 failed, 12 no object, 36 score too low\)"
    ):
        curate(str(source), str(tmp_path / "new"), Rules(min_score=0.95))
    assert not (tmp_path / "new").exists()


def test_the_card_says_how_it_was_selected(source: Path, tmp_path: Path) -> None:
    curate(str(source), str(tmp_path / "new"), Rules(min_score=0.4, val_share=0.4, seed=3))
    card = DatasetCard.load(tmp_path / "new" / "README.md")
    assert card.data.configs == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "masks/train-*.parquet"},
                {"split": "validation", "path": "masks/validation-*.parquet"},
            ],
        }
    ]
    for line in (
        "| rows_after | 20 |",
        "| selected_by_min_score | 0.4 |",
        "| selected_by_seed | 3 |",
        "| source_model_fingerprint | 3f2a |",
    ):
        assert line in card.text


def test_a_source_that_changes_meanwhile_is_not_curated(source: Path, tmp_path: Path, monkeypatch) -> None:
    write_source(tmp_path / "out", videos=2)

    def select_and_commit(rows, rules):
        with OutputDirectory(str(tmp_path / "out")) as output:
            output.begin(identity={"model_fingerprint": "3f2a", "num_keyframes": 5}, description={})
            output.commit([build_row("late", "0")])
        return select(rows, rules)

    monkeypatch.setattr("pipeline.curate.plan.select", select_and_commit)
    with pytest.raises(StorageError, match="changed while it was read"):
        curate(str(tmp_path / "out"), str(tmp_path / "new"), Rules())


def test_shards_are_filled_up_to_their_size(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    tables = [
        pa.concat_tables([row_table(build_row(f"v{i}", str(e), seed=i)) for e in range(3)]).combine_chunks()
        for i in range(7)
    ]
    writer = ShardWriter(str(tmp_path), "train", {}, shard_bytes=2 * tables[0].nbytes + 100)
    for table in tables:
        writer.add(table)
    writer.finish()
    assert [pq.read_metadata(file).num_rows for file in sorted(writer.files)] == [6, 6, 6, 3]


@pytest.mark.parametrize(
    "rules", [{"min_score": 1.5}, {"val_share": 1.0}, {"max_per_video": 0}, {"min_area": -1}, {"min_score": np.nan}]
)
def test_rules_that_cannot_be(rules: dict) -> None:
    with pytest.raises(UsageError, match=next(iter(rules))):
        Rules(**rules)


def test_the_command(source: Path, tmp_path: Path) -> None:
    result = run_job("curate", "--predictions", source, "--output", tmp_path / "new", "--max-per-video", "1")
    assert result.returncode == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[1:3] == ["before 12 60 60", "after 12 12 12"]
    assert "dropped: 12 rows, more than allowed per video" in lines
    assert "train: 12 rows of 12 videos" in lines
    wrong = run_job("curate", "--predictions", tmp_path / "none", "--output", tmp_path / "other")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


def test_evaluate_and_export_read_it(tmp_path: Path) -> None:
    import dataclasses

    from pipeline.evaluation import evaluate
    from pipeline.export import export
    from tests.export.small_benchmark import EXPRESSIONS, truth_rows, write_benchmark

    truth = write_benchmark(tmp_path / "benchmark")
    with OutputDirectory(str(tmp_path / "out")) as output:
        output.begin(identity={"model": "m"}, description={})
        for video_id in EXPRESSIONS:
            output.commit([dataclasses.replace(row, score=0.9) for row in truth_rows(video_id)])
        output.finish({})
    new = str(tmp_path / "new")
    curate(str(tmp_path / "out"), new, Rules(keep_no_object=True))
    evaluation = evaluate("mevis", str(truth), new)
    assert not evaluation.missing
    assert next(iter(evaluation.lines[0].values.values())) == 1
    result = export(new, str(truth / "meta_expressions.json"), "mevis", str(tmp_path / "submission.zip"))
    assert result.written
    assert not result.missing
    few = MaskDataset(new, filters=[("video_id", "==", "v1bb")])
    assert len(few) == len(MaskDataset(new, video_ids=["v1bb"])) == 1
    assert few[0].decode().any()


def test_licences_and_sources_are_in_the_card_of_a_selection(tmp_path: Path) -> None:
    with OutputDirectory(str(tmp_path / "out")) as output:
        output.begin(identity={"model_fingerprint": "3f2a"}, description={})
        output.commit([build_row("a", "0", license="cc0-1.0", video_source="https://example.com|x")])
        output.commit([build_row("b", "0", seed=1, license="cc-by-nc-4.0")])
        output.finish({})
    assert DatasetCard.load(tmp_path / "out" / "README.md").data.license == "other"
    curate(str(tmp_path / "out"), str(tmp_path / "new"), Rules(only_license=["cc0-1.0"]))
    card = DatasetCard.load(tmp_path / "new" / "README.md")
    assert card.data.license == "cc0-1.0"
    assert "| licence | cc0-1.0 | 1 |" in card.text
    assert "| source | https://example.com\\|x | 1 |" in card.text
    assert keys(tmp_path / "new") == [("a", "0")]
