"""The dataset card: a README.md with the front matter that the Hugging Face hub and ``datasets`` read."""

import posixpath
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import yaml

from pipeline.dataset.identity import without_secrets
from pipeline.dataset.state import Counts
from pipeline.dataset.terms import Terms
from pipeline.schema import MASKS_SCHEMA, SCHEMA_VERSION

COLUMN_MEANINGS = {
    "video_id": "the video's id in the manifest",
    "expression_id": "the expression's id within the video",
    "expression": "the referring expression, as written",
    "object_id": "0, 1, ... for the first, second object that the answer points at",
    "status": "`ok`; `no_object`: the model found nothing to point at, every mask is null; `failed`: see `error`",
    "error": "what went wrong, for `failed` rows",
    "answer": "the language model's reply",
    "height": "of the video, in pixels",
    "width": "of the video, in pixels",
    "frames": "frame names in order; for video files the zero-padded frame index",
    "keyframes": "indices into `frames` of the frames the language model saw",
    "masks": "one COCO compressed RLE per frame (`size` = [height, width], column-major), null where absent",
    "areas": "mask area per frame, in pixels",
    "bboxes": "COCO box [x, y, width, height] per frame, null where absent",
    "scores": "confidence per frame that the object is present, 0 to 1",
    "score": "the track's J&F as the model's own evidence lets expect it, 0 to 1, to filter by",
    "presence": "probability that what the expression names is in the video at all, 0 to 1; null where not computed",
    "source": "of the masks: null or `model`, `accepted` (the model's, accepted by a person), `person`, or a tool",
    "parent": "version of the dataset that the row was taken over from; null where a run made it",
    "license": "of the video; null where it was not given",
    "video_source": "where the video is from; null where it was not given",
}

_SIZE_CATEGORIES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

_ABOUT = """\
Masks of what sentences refer to in videos, made by Sa2VA-i: the model answers each sentence about its video and points
at objects, which are then segmented in every frame. They are predictions, not ground truth.
"""

_LOADING = """\
## Loading

```python
# datasets (also straight from the hub, by the repository's name)
from datasets import load_dataset
rows = load_dataset("parquet", data_files="masks/*.parquet", split="train")

# pyarrow: only the columns and rows that are needed
import pyarrow.dataset as ds
good = ds.dataset("masks", format="parquet").to_table(
    columns=["video_id", "expression", "frames", "masks", "score"], filter=ds.field("score") > 0.8)

# DuckDB
import duckdb
duckdb.sql("select status, count(*) from 'masks/*.parquet' group by status")

# one mask as a boolean array [height, width]
from pycocotools import mask as coco
rle = next(rle for row in rows for rle in row["masks"] if rle is not None)
mask = coco.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)
```
"""


_SHARED = """\
## Shared tracks

Objects of a video whose first masks agree to at least {iou} IoU on every keyframe share one track. The metadata of a
video's file says which rows do, under `sa2va_i_pipeline.shared_tracks`:

```python
duckdb.sql("select file_name, decode(value) from parquet_kv_metadata('masks/*.parquet') "
           "where decode(key) = 'sa2va_i_pipeline.shared_tracks'")
```
"""


def dataset_card(
    url: str, counts: Counts, *, run: Mapping[str, Any], finished: bool, terms: Terms | None = None
) -> str:
    """The card of the dataset at ``url`` as Markdown with YAML front matter.

    Args:
        url: Names the dataset by its last part.
        counts: What it holds.
        run: What decided the masks, as one table of keys and values; secrets are left out. Two keys are more than an
            entry of it: ``splits`` names the files of each split, ``merge_tracks`` asks for the note on shared tracks.
        finished: False writes that a run is still going on.
        terms: Licences and sources of the videos.
    """
    terms = terms or Terms()
    name = posixpath.basename(url.rstrip("/")) or "masks"
    front = {
        "pretty_name": f"Referring video object masks: {name}",
        # The masks' licence follows from the videos', which only their owner knows.
        "license": _license(terms),
        "task_categories": ["image-segmentation", "mask-generation"],
        "tags": ["video", "referring-video-object-segmentation", "pseudo-labels", "rle", "sa2va-i"],
        "size_categories": [_size_category(counts.rows)],
        "configs": [{"config_name": "default", "data_files": _data_files(run)}],
    }
    parts = [
        "---\n" + yaml.safe_dump(front, sort_keys=False, allow_unicode=True) + "---\n",
        f"# Referring video object masks: {_cell(name)}\n",
        _ABOUT,
        _counts_table(counts, finished),
        _schema_table(),
        *([_terms_section(terms)] if terms.licenses or terms.sources else []),
        _LOADING,
        *([_SHARED.format(iou=run["merge_tracks"])] if run.get("merge_tracks") else []),
        _run_table(run),
    ]
    return "\n".join(parts)


def _data_files(run: Mapping[str, Any]) -> list[dict[str, str]]:
    splits = run.get("splits") or {"train": "masks/*.parquet"}
    return [{"split": split, "path": path} for split, path in splits.items()]


def _license(terms: Terms) -> str:
    """The one licence of all rows that name one; ``other`` where there are several."""
    if not terms.licenses:
        return "unknown"
    return next(iter(terms.licenses)) if len(terms.licenses) == 1 else "other"


def _terms_section(terms: Terms) -> str:
    lines = ["## Terms\n", "The masks are made from videos under these licences, from these sources.\n"]
    lines += ["| | | rows |", "|---|---|---|"]
    for what, counts in (("licence", terms.licenses), ("source", terms.sources)):
        lines += [f"| {what} | {_cell(value)} | {count} |" for value, count in sorted(counts.items())]
    return "\n".join(lines) + "\n"


def _counts_table(counts: Counts, finished: bool) -> str:
    note = "" if finished else "A run is still adding to this dataset; these are the numbers it started from.\n\n"
    return (
        f"## What is here\n\n{note}"
        "| videos | expressions | rows | ok | no object | failed |\n|---|---|---|---|---|---|\n"
        f"| {counts.videos} | {counts.expressions} | {counts.rows} | {counts.ok} | {counts.no_object} "
        f"| {counts.failed} |\n"
    )


def _schema_table() -> str:
    lines = [
        "## Schema\n",
        "One row per (video, expression, object) in `masks/*.parquet`; `(video_id, expression_id, object_id)` is",
        f"unique. Schema version {SCHEMA_VERSION}.\n",
        "| column | type | meaning |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{field.name}` | {_type_text(field.type)} | {COLUMN_MEANINGS[field.name]} |" for field in MASKS_SCHEMA
    ]
    return "\n".join(lines) + "\n"


def _run_table(run: Mapping[str, Any]) -> str:
    lines = ["## How it was made\n", "The whole configuration is in `run.json`.\n", "| | |", "|---|---|"]
    lines += [f"| {_cell(key)} | {_cell(_plain(value))} |" for key, value in without_secrets(run).items()]
    return "\n".join(lines) + "\n"


def _type_text(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type_text(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "struct(" + ", ".join(f"{field.name}: {_type_text(field.type)}" for field in kind) + ")"
    return {"float": "float32"}.get(str(kind), str(kind))


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {entry}" for key, entry in value.items())
    return str(value)


def _size_category(rows: int) -> str:
    return next((name for limit, name in _SIZE_CATEGORIES if rows < limit), "n>1M")


def _cell(value: object) -> str:
    """``value`` as the text of a Markdown table cell: one line, nothing that ends the cell or starts a tag."""
    text = " ".join(str(value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
