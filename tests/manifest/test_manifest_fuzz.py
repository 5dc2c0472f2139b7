"""Whatever stands in a manifest, reading it gives tasks or one readable line. FUZZ_EXAMPLES=100000 looks longer."""

import json
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.manifest import expression_problem, read_manifest

QUICK = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.text(max_size=3) for name in ("video_id", "video", "expression_id", "expression", "frames")
    },
)
VIDEO = st.fixed_dictionaries(
    {},
    optional={
        "frames": JSON | st.lists(st.text(max_size=3), max_size=3),
        "expressions": JSON | st.dictionaries(st.text(max_size=3), JSON | st.fixed_dictionaries({"exp": JSON})),
    },
)


def reads_or_refuses(path):
    try:
        tasks = read_manifest(str(path))
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert tasks
        for task in tasks:
            (task.video_id + task.video + "".join(item.text for item in task.expressions)).encode()


@QUICK
@given(content=st.binary(max_size=300), suffix=st.sampled_from([".jsonl", ".csv", ".parquet", ".json"]))
def test_bytes(tmp_path, content, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    reads_or_refuses(path)


@QUICK
@given(rows=st.lists(ROW | JSON, max_size=4))
def test_json_rows(tmp_path, rows):
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    reads_or_refuses(path)


@QUICK
@given(cells=st.lists(st.lists(st.text(max_size=5), min_size=3, max_size=5), max_size=4))
def test_csv_rows(tmp_path, cells):
    path = tmp_path / "m.csv"
    lines = ["video_id,video,expression_id,expression", *(",".join(row) for row in cells)]
    path.write_bytes("\n".join(lines).encode("utf-8", "replace"))
    reads_or_refuses(path)


@QUICK
@given(videos=JSON | st.dictionaries(st.text(max_size=3), VIDEO | JSON, max_size=3))
def test_meta_files(tmp_path, videos):
    (tmp_path / "JPEGImages" / "v").mkdir(parents=True, exist_ok=True)
    path = tmp_path / "meta.json"
    path.write_text(json.dumps({"videos": videos}))
    reads_or_refuses(path)


@given(st.text(max_size=50))
@settings(deadline=None)
def test_a_plain_sentence_is_no_problem(text):
    problem = expression_problem(text)
    assert (problem is not None) == (not text.strip() or "\0" in text)


def test_the_length_limit_is_in_characters():
    assert expression_problem("é" * 10_000) is None
    assert "10001 characters" in expression_problem("é" * 10_001)
