"""An output directory over several runs: binding, resuming, and the papers it ends with."""

import json
import logging
import random

import pytest

from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.identity import identity_hash
from pipeline.dataset.layout import part_file
from pipeline.dataset.state import statuses
from pipeline.errors import StorageError, UsageError
from pipeline.schema import Expression, Status, VideoTask, failed_rows
from tests.dataset.conftest import damage_masks

IDENTITY = {"model": "3f2a", "num_keyframes": 5, "procedure": "sa2va-i"}


def task(video_id, *expression_ids, text="the thing {}"):
    expressions = tuple(Expression(expression_id=key, text=text.format(key)) for key in expression_ids)
    return VideoTask(video_id=video_id, video=f"/videos/{video_id}", expressions=expressions)


TASKS = [task("a", "0", "1"), task("b/c", "0"), task("d", "0", "1", "2")]


def begin(url, identity=IDENTITY, **description):
    output = OutputDirectory(str(url))
    output.begin(identity=identity, description=description)
    return output


def test_a_run_from_nothing_to_finished(tmp_path, make_row):
    with begin(tmp_path / "new" / "out", manifest="clips.jsonl") as output:
        assert output.remaining(TASKS, retry_failed=False) == TASKS
        assert json.loads((tmp_path / "new/out/run.json").read_text())["state"] == "running"
        output.commit([make_row("a", "0"), make_row("a", "0", 1), make_row("a", "1", status="no_object")])
        output.commit(failed_rows(TASKS[1], "VideoError: b: gone"))
        assert output.remaining(TASKS, retry_failed=False) == [TASKS[2]]
        assert output.remaining(TASKS, retry_failed=True) == [TASKS[1], TASKS[2]]
        assert output.done() == {"a": {"0": "ok", "1": "no_object"}, "b/c": {"0": "failed"}}
        output.finish({"timings": {"seconds": 1.5}})
    run = json.loads((tmp_path / "new/out/run.json").read_text())
    assert run["counts"] == {"videos": 2, "expressions": 3, "rows": 4, "ok": 1, "no_object": 1, "failed": 1}
    assert (run["state"], run["manifest"], run["timings"]) == ("finished", "clips.jsonl", {"seconds": 1.5})
    assert run["identity"]["num_keyframes"] == 5
    assert [path.name for path in (tmp_path / "new/out/_state").iterdir()] == ["owner.json"]
    assert [path.name for path in (tmp_path / "new/out/masks").iterdir()] == ["part-00000-of-00001.parquet"]


def test_a_start_that_finds_nothing_to_do_keeps_what_the_last_work_took(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.commit([make_row("a", "0")])
        output.finish({"timings": {"wall_seconds": 1.5}, "this_run": {"frames": 8}})
    with begin(tmp_path) as output:
        output.finish({"timings": {"wall_seconds": 0.1}, "this_run": {"frames": 0}}, idle=True)
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["timings"], run["this_run"]) == ({"wall_seconds": 1.5}, {"frames": 8})
    assert run["state"] == "finished"


def test_the_second_start_does_what_is_missing(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.commit([make_row("d", "1")])
    with begin(tmp_path) as output:
        assert output.remaining(TASKS, retry_failed=False) == [TASKS[0], TASKS[1], task("d", "0", "2")]


def test_a_changed_sentence_is_done_again(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.commit([make_row("a", "0"), make_row("a", "1")])
        changed = task("a", "0", "1", text="another thing {}")
        assert output.remaining([changed], retry_failed=False) == [changed]


def test_a_retried_failure_becomes_its_result(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.commit([make_row("a", "0"), *failed_rows(task("a", "1"), "out of memory")])
        (retry,) = output.remaining([TASKS[0]], retry_failed=True)
        assert [item.expression_id for item in retry.expressions] == ["1"]
        output.commit([make_row("a", "1")])
        assert output.done() == {"a": {"0": "ok", "1": Status.OK}}


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    begin(tmp_path).finish({})
    changed = {"model": "77", "num_keyframes": 5, "dtype": "bfloat16"}
    with pytest.raises(UsageError) as caught:
        begin(tmp_path, changed)
    message = str(caught.value)
    assert "dtype: (not set) -> bfloat16; model: 3f2a -> 77; procedure: sa2va-i -> (not set)" in message
    assert "num_keyframes" not in message
    begin(tmp_path, dict(reversed(IDENTITY.items()))).release()  # the order of keys does not matter


@pytest.mark.parametrize(
    ("schema_version", "model", "taken"), [("1", "77", True), ("2", "77", False), ("1", "x", False)]
)
def test_what_an_earlier_version_called_the_same_configuration_is_taken_over(tmp_path, schema_version, model, taken):
    begin(tmp_path, {**IDENTITY, "model": "77"}).finish({})
    file = tmp_path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": schema_version}))
    output = OutputDirectory(str(tmp_path))
    start = {"identity": IDENTITY, "description": {}, "earlier_identity": lambda: {**IDENTITY, "model": model}}
    if not taken:
        with pytest.raises(UsageError, match="model: 77 -> 3f2a"):
            output.begin(**start)
        return
    output.begin(**start)
    output.finish({})
    begin(tmp_path).release()  # from now on it is bound to the new name


def test_tuples_and_lists_are_one_identity(tmp_path):
    assert identity_hash({"size": (1, 2)}) == identity_hash({"size": [1, 2]})
    begin(tmp_path, {"size": (1, 2)}).release()
    begin(tmp_path, {"size": [1, 2]}).release()


def written(url, make_row):
    """The file of an output that holds video a."""
    with begin(url) as output:
        output.commit([make_row("a", "0", frames=300), make_row("a", "1", frames=300)])
        output.finish({})
    return url / part_file(0, 1)


def test_a_broken_file_is_named_and_done_again(tmp_path, make_row, caplog):
    broken = written(tmp_path, make_row)
    broken.write_bytes(broken.read_bytes()[:-20])
    with begin(tmp_path) as output:
        with caplog.at_level(logging.WARNING):
            assert output.remaining([TASKS[0]], retry_failed=False) == [TASKS[0]]
        assert broken.name in caplog.text
        output.commit([make_row("a", "0"), make_row("a", "1")])
        assert output.remaining([TASKS[0]], retry_failed=False) == []
        output.finish({})
    assert len(MaskDataset(str(tmp_path))) == 2


def test_damage_anywhere_in_a_file_is_found_or_harmless(tmp_path, make_row):
    file = written(tmp_path, make_row)
    content = file.read_bytes()
    generator = random.Random(0)
    found = 0
    for _ in range(300):
        damaged = bytearray(content[: generator.choice([len(content), generator.randrange(len(content))])])
        for _ in range(3):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        file.write_bytes(damaged)
        done = statuses(str(tmp_path))
        assert done in ({}, {"a": {"0": "ok", "1": "ok"}})
        found += not done
    assert found > 100


def test_damaged_masks_are_found_before_their_file_is_written_anew_and_done_again(tmp_path, make_row, caplog):
    file = written(tmp_path, make_row)
    with begin(tmp_path) as output:
        output.commit([make_row("d", "0")])
        output.finish({})
    content = damage_masks(file)
    tasks = [task("a", "0", "1", "2"), task("d", "0")]
    with begin(tmp_path) as output:
        assert output.remaining(tasks, retry_failed=False) == tasks
        assert "2 videos" in caplog.text
        assert (tmp_path / "_state" / "damaged" / file.name).read_bytes() == content
        output.commit([make_row("a", expression_id) for expression_id in "012"])
        output.commit([make_row("d", "0")])
        output.finish({})
    assert [record.row.video_id for record in MaskDataset(str(tmp_path))] == ["a", "a", "a", "d"]


def test_damage_is_found_also_where_nothing_else_is_to_do(tmp_path, make_row):
    """Export and the like say that the same command does these videos again."""
    damage_masks(written(tmp_path, make_row))
    with begin(tmp_path) as output:
        assert output.remaining([TASKS[0]], retry_failed=False) == [TASKS[0]]


def test_damage_that_only_merging_meets_ends_the_run_and_the_next_one_does_it_again(tmp_path, make_row, monkeypatch):
    file = written(tmp_path, make_row)
    monkeypatch.setattr("pipeline.dataset.damage.CHECKED_BYTES", 0)
    damage_masks(file)
    with begin(tmp_path) as output:
        assert output.remaining([TASKS[0], TASKS[1]], retry_failed=False) == [TASKS[1]]
        output.commit([make_row("b/c", "0")])
        with pytest.raises(StorageError, match=rf"{file.name}: does not read back.*2 expressions of 1 videos"):
            output.finish({})
    with begin(tmp_path) as output:
        assert output.remaining([TASKS[0], TASKS[1]], retry_failed=False) == [TASKS[0]]


def test_leftovers_of_a_killed_writer_are_cleaned_and_never_read(tmp_path, make_row):
    begin(tmp_path).release()
    leftover = tmp_path / "masks" / ".tmp-123-abc"
    leftover.write_bytes(b"half")
    assert OutputDirectory(str(tmp_path)).done() == {}
    begin(tmp_path).release()
    assert not leftover.exists()


def test_secrets_stay_out_of_every_file(tmp_path):
    identity = {"model": "https://me:pa55@host/m?X-Amz-Signature=feed", "num_keyframes": 5, "max_new_tokens": 64}
    output = begin(tmp_path, identity, storage={"secret": "s3cr3t", "token": "t0k3n"})
    output.finish({"api_key": "k3y"})
    for name in ("run.json", "README.md"):
        text = (tmp_path / name).read_text()
        for secret in ("pa55", "feed", "s3cr3t", "t0k3n", "k3y"):
            assert secret not in text
        assert "https://***@host/m" in text
    assert json.loads((tmp_path / "run.json").read_text())["identity"]["max_new_tokens"] == 64
    with pytest.raises(UsageError) as caught:
        begin(tmp_path, {**identity, "model": "https://me:0ther@host/n"})
    assert "pa55" not in str(caught.value)
    assert "0ther" not in str(caught.value)


def test_folders_of_other_people_are_left_alone(tmp_path, make_row):
    (tmp_path / "README.md").write_text("my thesis")
    with pytest.raises(UsageError, match=r"no run.json"):
        begin(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my thesis"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    with pytest.raises(UsageError, match="must name a folder"):
        begin(tmp_path / "README.md")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"identity": 3}'])
def test_an_unreadable_run_file_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"run.json"):
        begin(tmp_path)


def test_an_output_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        begin(tmp_path / "file" / "out")


def test_an_output_that_never_was_holds_nothing(tmp_path):
    assert OutputDirectory(str(tmp_path / "none")).remaining(TASKS, retry_failed=False) == TASKS
