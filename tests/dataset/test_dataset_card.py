"""The card: the hub's own parser reads it, and the folder loads as it is."""

import json

import pytest
from huggingface_hub import DatasetCard

from pipeline.dataset import OutputDirectory
from pipeline.dataset.card import COLUMN_MEANINGS, dataset_card
from pipeline.dataset.state import Counts
from pipeline.schema import MASKS_SCHEMA

COUNTS = Counts(videos=2, expressions=5, rows=1500, ok=4, no_object=0, failed=1)


@pytest.fixture
def out(tmp_path, make_row):
    output = OutputDirectory(str(tmp_path / "my masks"))
    output.begin(identity={"model": "kumuji/Sa2VA-i-1B"}, description={})
    output.commit([make_row("a", "0"), make_row("a", "1")])
    output.commit([make_row("b", "0", status="no_object")])
    output.finish({})
    return tmp_path / "my masks"


def test_the_front_matter_is_what_the_hub_wants(out):
    card = DatasetCard.load(out / "README.md")
    assert card.data.configs == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "masks/*.parquet"}]}
    ]
    assert card.data.license == "unknown"
    assert "image-segmentation" in card.data.task_categories
    assert card.data.size_categories == ["n<1K"]
    assert "| 2 | 3 | 3 | 2 | 1 | 0 |" in card.text
    assert "kumuji/Sa2VA-i-1B" in card.text


def test_the_folder_loads_as_it_is(out, tmp_path):
    import datasets

    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == 3


def test_the_loading_examples_run(out, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(out)
    code = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert names["rows"].num_rows == 3
    assert names["good"].num_rows == 0
    assert names["mask"].shape == (12, 17)
    assert names["mask"].any()


def test_every_column_is_explained():
    assert list(COLUMN_MEANINGS) == MASKS_SCHEMA.names
    text = dataset_card("out", COUNTS, run={}, finished=True)
    assert "| `masks` | list of struct(size: list of int32, counts: string) |" in text
    assert "| `bboxes` | list of list of float32 |" in text


def test_an_unfinished_run_says_so():
    assert "still adding" in dataset_card("out", COUNTS, run={}, finished=False)
    assert "still adding" not in dataset_card("out", COUNTS, run={}, finished=True)


def test_hostile_values_stay_in_their_cell():
    hostile = "a | b\n---\n# title <script>alert(1)</script>"
    text = dataset_card(f"s3://bucket/{hostile}", COUNTS, run={"model": hostile}, finished=True)
    assert "<script>" not in text.split("---\n", 2)[2]
    assert "\n# title" not in text
    assert "| model | a \\| b --- # title &lt;script>" in text
    assert DatasetCard(text).data.size_categories == ["1K<n<10K"]


def test_shared_tracks_are_found_the_way_the_card_says(tmp_path, make_row, monkeypatch):
    import duckdb

    output = OutputDirectory(str(tmp_path / "out"))
    output.begin(identity={"model": "m", "merge_tracks": 0.9}, description={})
    output.writer.commit([make_row("a", "0"), make_row("a", "1")], {("1", 0): ("0", 0)})
    output.commit([make_row("b", "0")])
    output.finish({})
    monkeypatch.chdir(tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().split("## Shared tracks")[1].split("```python\n")[1]
    ((_, note),) = eval(code.split("```")[0].strip(), {"duckdb": duckdb}).fetchall()
    assert json.loads(note) == [
        {"video_id": "a", "expression_id": "1", "object_id": 0, "track_of": {"expression_id": "0", "object_id": 0}}
    ]
