"""verify against a scripted server: who is asked what, what is kept, faults, and going on where it was."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest
from drawn_dataset import FRAMES, LEFT, RIGHT, RIGHT_ANSWERS, SIDE, red_box, rows
from scripted_server import Question, Reply, scripted_server

from pipeline.dataset import DatasetWriter
from pipeline.errors import PipelineError, UsageError
from pipeline.verify import VerifySettings
from pipeline.verify.run import verify
from tests.conftest import ROOT


def settings(*servers, **changes) -> VerifySettings:
    values = {"endpoint": [server.url for server in servers], "verifier": ["judge-1"], "concurrency": 2, **changes}
    return VerifySettings(**values)


def verdicts(dataset) -> dict[tuple[str, str], dict]:
    """By video and expression; fails if a row has two."""
    if not list(dataset.glob("verdicts/*.parquet")):
        return {}
    table = duckdb.sql(f"select * from '{dataset}/verdicts/*.parquet'").arrow().read_all()
    found = {(row["video_id"], row["expression_id"]): row for row in table.to_pylist()}
    assert len(found) == table.num_rows
    return found


def expression_of(question: Question) -> str:
    return question.text.split('"')[1]


def say_yes(_: Question) -> Reply:
    return Reply("Yes.")


def looks(question: Question) -> Reply:
    """Judges as a person would: by where the red line is, or, without one, by what the videos show."""
    start = {"the left square": LEFT, "the right square": RIGHT}.get(expression_of(question))
    boxes = [red_box(picture) for picture in question.pictures]
    if "outlined" not in question.text:
        assert boxes == [None] * 3
        return Reply("Yes" if start is not None else "No")
    for box, frame in zip(boxes, (0, 2, 4, None), strict=False):
        if frame is not None and start is not None:
            expected = (20, 20 + SIDE - 1, start + 2 * frame, start + 2 * frame + SIDE - 1)
            if box is None or any(abs(a - b) > 3 for a, b in zip(box, expected, strict=True)):
                return Reply("No")
    return Reply("Yes")


def test_masks_are_outlined_where_they_are_and_every_row_gets_its_verdict(dataset):
    with scripted_server(looks) as server:
        result = verify(str(dataset), settings(server, frames=3))
    found = verdicts(dataset)
    assert {key: row["verdict"] >= 0.5 for key, row in found.items()} == RIGHT_ANSWERS
    assert (result.judged, result.said_yes, result.failed) == (5, 3, 0)
    one = found["a", "1"]
    assert one["outlined"]
    assert not found["a", "2"]["outlined"]
    assert one["frames"] == ["00000", "00002", "00004"]
    assert one["votes"] == [{"model": "judge-1", "vote": 0.0, "from_logprobs": False, "answer": "No"}]
    assert '"the right square"' in one["prompt"]
    assert one["agreement"] == "majority"
    assert {question.path for question in server.questions} == {"/v1/chat/completions"}
    assert not list(dataset.glob("_state/verdicts/*"))
    assert not (dataset / "_state" / "lock.json").exists()


def test_a_second_run_asks_nothing_and_changed_masks_are_asked_again(dataset):
    with scripted_server(say_yes) as server:
        assert verify(str(dataset), settings(server)).judged == 5
        assert len(server.questions) == 5
        again = verify(str(dataset), settings(server))
        assert (again.judged, again.judged_before, len(server.questions)) == (0, 5, 5)
        changed = rows()["a"][1]
        changed.areas[0] -= 1
        DatasetWriter(str(dataset)).commit([changed])
        assert verify(str(dataset), settings(server)).judged == 1
    assert expression_of(server.questions[-1]) == "the right square"
    assert len(verdicts(dataset)) == 5


def test_the_verdict_is_the_probability_of_yes_where_the_server_tells_it(dataset):
    tokens = [{"token": " Yes", "logprob": -0.4}, {"token": "No", "logprob": -1.4}, {"token": "yes", "logprob": -3.0}]

    def answers(question: Question) -> Reply:
        assert question.body["logprobs"] is True
        return Reply("Yes.", logprobs=[{"token": " Yes", "logprob": -0.4, "top_logprobs": tokens}])

    with scripted_server(answers) as server:
        verify(str(dataset), settings(server))
    for row in verdicts(dataset).values():
        assert row["verdict"] == pytest.approx((0.670 + 0.0498) / (0.670 + 0.0498 + 0.2466), abs=1e-3)
        assert row["votes"][0]["from_logprobs"]


def test_a_server_that_refuses_logprobs_is_asked_without(dataset):
    def answers(question: Question) -> Reply:
        return Reply(status=422, raw=b"unsupported: logprobs") if "logprobs" in question.body else Reply("no")

    with scripted_server(answers) as server:
        assert verify(str(dataset), settings(server, concurrency=1)).judged == 5
    assert len(server.questions) == 6
    assert {row["verdict"] for row in verdicts(dataset).values()} == {0.0}


@pytest.mark.parametrize(
    ("agreement", "expected"), [("majority", {"the left square": 1.0, "the right square": 0.0}), ("unanimity", {})]
)
def test_several_judges_vote(dataset, agreement, expected):
    """One always says yes, one always no, the third yes to what is on the left."""

    def answers(question: Question) -> Reply:
        left = expression_of(question) == "the left square"
        return Reply({"yes-man": "Yes", "no-man": "No"}.get(question.model, "Yes" if left else "No"))

    with scripted_server(answers) as server, scripted_server(say_yes) as other:
        endpoints = [server.url, other.url, server.url]
        names = ["no-man", "yes-man", "left"]
        verify(str(dataset), settings(endpoint=endpoints, verifier=names, agreement=agreement))
    for row in verdicts(dataset).values():
        assert row["verdict"] == expected.get(row["expression"], 0.0)
        assert [vote["model"] for vote in row["votes"]] == names
    assert Counter(question.model for question in server.questions) == {"no-man": 5, "left": 5}
    assert len(other.questions) == 5


FAULTS = [
    Reply("busy", status=429, headers={"Retry-After": "0.05"}),
    Reply("busy", status=429),
    Reply(status=500, raw=b"oops"),
    Reply(status=503, raw=b""),
    Reply(raw=b"<html>gateway</html>"),
    Reply(raw=b'{"choices": []}'),
    Reply(raw=b'{"choices": [{"message": {"content": null}}]}'),
    Reply("I cannot tell."),
    Reply("Yes", after_s=2.0),
    Reply("Yes", drip_s=0.05),
]


def test_faults_that_pass_cost_nothing(dataset):
    """Every question meets every fault in turn, then gets an answer."""
    attempts: Counter[str] = Counter()
    lock = threading.Lock()

    def answers(question: Question) -> Reply:
        with lock:
            key = f"{question.text} {question.body['messages'][0]['content'][1]}"  # the two videos differ in no text
            attempts[key] += 1
            number = attempts[key]
        return FAULTS[number - 1] if number <= len(FAULTS) else Reply("Yes")

    with scripted_server(answers) as server:
        result = verify(str(dataset), settings(server, timeout_s=0.5, attempts=len(FAULTS) + 1, concurrency=5))
    assert (result.judged, result.failed) == (5, 0)
    assert len(verdicts(dataset)) == 5
    assert len(server.questions) >= 4 * (len(FAULTS) + 1)


def test_what_gets_no_answer_is_named_and_tried_again_by_the_next_run(dataset, job_here):
    broken = threading.Event()
    broken.set()

    def answers(question: Question) -> Reply:
        is_broken = broken.is_set() and expression_of(question) == "the circle"
        return Reply("perhaps") if is_broken else Reply("Yes")

    with scripted_server(answers) as server:
        options = ["--predictions", dataset, "--endpoint", server.url, "--verifier", "m", "--attempts", "2"]
        code, said, errors = job_here("verify")(*options)
        assert code == 1
        assert "4 new (4 yes, 0 no)" in said
        assert "video 'a' expression '2' object 0: the reply is neither yes nor no: 'perhaps'" in errors
        assert len(verdicts(dataset)) == 4
        broken.clear()
        code, said, _ = job_here("verify")(*options)
    assert code == 0
    assert "1 new (1 yes, 0 no), 4 were there" in said
    assert len(verdicts(dataset)) == 5


def test_a_damaged_dataset_is_named_and_its_rest_judged_if_that_is_allowed(dataset, job_here):
    file = next(Path(dataset, "masks").glob("a-*.parquet"))
    file.write_bytes(file.read_bytes()[:-40])
    with scripted_server(say_yes) as server:
        options = ["--predictions", dataset, "--endpoint", server.url, "--verifier", "m"]
        code, _, errors = job_here("verify")(*options)
        assert code == 3
        assert file.name in errors
        code, said, errors = job_here("verify")(*options, "--allow-missing")
    assert code == 1
    assert file.name in errors
    assert "2 new" in said
    assert {key[0] for key in verdicts(dataset)} == {"b"}


def test_a_video_that_is_gone_costs_its_own_rows_only(dataset, tmp_path):
    for file in (tmp_path / "videos" / "a").iterdir():
        file.unlink()
    with scripted_server(say_yes) as server:
        result = verify(str(dataset), settings(server))
    assert (result.judged, result.failed) == (2, 3)
    assert {key[0] for key in verdicts(dataset)} == {"b"}
    assert {failure[0] for failure in result.failures} == {"a"}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (Reply(status=401, raw=b"Incorrect API key provided: sk-secret-1"), "--api-key-env names the variable"),
        (Reply(status=404, raw=b"no such model"), "check --endpoint and --verifier"),
        (Reply(status=307, headers={"Location": "http://127.0.0.1:1/"}, raw=b""), "HTTP 307"),
    ],
    ids=["wrong key", "no model", "redirect"],
)
def test_a_server_that_refuses_everything_ends_the_run_in_one_line(dataset, job_here, monkeypatch, reply, says):
    monkeypatch.setenv("JUDGE_KEY", "sk-secret-1")
    with scripted_server(lambda _: reply) as server:
        options = ["--endpoint", server.url, "--verifier", "m", "--api-key-env", "JUDGE_KEY"]
        code, _, errors = job_here("verify")("--predictions", dataset, *options)
    assert code == 3
    assert says in errors
    assert "sk-secret" not in errors
    assert len(server.questions) <= 8
    assert not (dataset / "_state" / "lock.json").exists()


def test_a_server_that_is_down_ends_the_run_after_some_rows(dataset, monkeypatch):
    monkeypatch.setattr("pipeline.verify.run.MOST_FAILURES_IN_A_ROW", 3)
    with pytest.raises(PipelineError, match=r"3 rows in a row got no verdict.*ConnectError"):
        verify(str(dataset), settings(endpoint=["http://127.0.0.1:9/v1"], attempts=2))


def test_keys_are_sent_to_their_own_server_and_stand_nowhere(dataset, job_here, monkeypatch, caplog):
    """Not even where a server repeats them in its answer."""
    caplog.set_level("DEBUG")
    monkeypatch.setenv("KEY_1", "sk-secret-1")
    monkeypatch.setenv("KEY_2", "sk-secret-2")

    def repeats(question: Question) -> Reply:
        return Reply(f"Yes, {question.headers.get('authorization')}")

    def repeats_badly(question: Question) -> Reply:
        faulty = "the circle" in question.text
        return Reply(f"hm, {question.headers['authorization']}") if faulty else Reply("Yes")

    with scripted_server(repeats) as first, scripted_server(repeats_badly) as second:
        servers = ["--endpoint", first.url, "--endpoint", second.url, "--verifier", "m1", "--verifier", "m2"]
        keys = ["--api-key-env", "KEY_1", "--api-key-env", "KEY_2", "--attempts", "2"]
        code, said, errors = job_here("verify")("--predictions", dataset, *servers, *keys)
    assert code == 1
    assert {question.headers["authorization"] for question in first.questions} == {"Bearer sk-secret-1"}
    assert {question.headers["authorization"] for question in second.questions} == {"Bearer sk-secret-2"}
    assert "***" in errors
    assert "sk-secret" not in said + errors + caplog.text
    assert all(b"sk-secret" not in file.read_bytes() for file in dataset.rglob("*") if file.is_file())
    stored = [vote["answer"] for row in verdicts(dataset).values() for vote in row["votes"]]
    assert not any("sk-secret" in answer for answer in stored)
    assert "Yes, Bearer ***" in stored
    with scripted_server(repeats) as server:  # no key without being told to
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-3")
        verify(str(dataset), settings(server, replace=True))
    assert not any("authorization" in question.headers for question in server.questions)


def test_usage_errors_come_before_any_question(dataset, tmp_path):
    with pytest.raises(UsageError, match="NO_SUCH_KEY: this environment variable is not set"):
        verify(str(dataset), settings(endpoint=["http://h/v1"], api_key_env=["NO_SUCH_KEY"]))
    for wrong, says in {
        ("ftp://h",): "it must be a URL",
        ("http://me:pw@h/v1",): "has a password in it",
        ("http://h", "http://i"): "2 --endpoint for 1 --verifier",
    }.items():
        with pytest.raises(UsageError, match=says) as raised:
            settings(endpoint=list(wrong))
        assert "pw" not in str(raised.value)
    with pytest.raises(UsageError, match="not a mask dataset"):
        verify(str(tmp_path), settings(endpoint=["http://h/v1"]))
    assert not (tmp_path / "_state").exists()


def test_verdicts_of_two_kinds_do_not_mix_unless_replaced(dataset):
    with scripted_server(say_yes) as server:
        verify(str(dataset), settings(server, limit=2))
        with pytest.raises(UsageError, match=r"verifier: \['judge-1'\] -> \['judge-2'\]"):
            verify(str(dataset), settings(server, verifier=["judge-2"]))
        result = verify(str(dataset), settings(server, verifier=["judge-2"], replace=True))
    assert result.judged == 5
    assert {row["votes"][0]["model"] for row in verdicts(dataset).values()} == {"judge-2"}
    noted = duckdb.sql(
        f"select decode(value) from parquet_kv_metadata('{dataset}/verdicts/*.parquet') "
        "where decode(key) = 'sa2va_i_pipeline.verified_by'"
    ).fetchall()
    settings_noted = [json.loads(text) for (text,) in noted]
    assert {tuple(one["verifier"]) for each in settings_noted for one in each.values()} == {("judge-2",)}
    assert all("{expression}" in one["prompt"] for each in settings_noted for one in each.values())


def test_without_outlines_every_expression_is_asked_once(dataset):
    listed = rows()["b"]
    second = rows()["b"][0]
    second.object_id = 1
    DatasetWriter(str(dataset)).commit([*listed, second])
    with scripted_server(looks) as server:
        result = verify(str(dataset), settings(server, plain=True, frames=3))
    assert result.judged == len(server.questions) == 5
    assert not any(row["outlined"] for row in verdicts(dataset).values())


def test_more_of_the_request_and_other_questions(dataset):
    with scripted_server(say_yes) as server:
        more = '{"max_tokens": null, "max_completion_tokens": 99, "temperature": 1}'
        own = "Is the red line around {expression}? Yes or no."
        verify(str(dataset), settings(server, request=more, prompt=own, frames=1))
    for question in server.questions:
        assert "max_tokens" not in question.body
        assert (question.body["max_completion_tokens"], question.body["temperature"]) == (99, 1)
        assert len(question.pictures) == 1
    assert "Is the red line around the left square? Yes or no." in {question.text for question in server.questions}


def test_large_frames_are_scaled_down(dataset):
    with scripted_server(say_yes) as server:
        verify(str(dataset), settings(server, picture_side=40))
    assert {picture.shape for question in server.questions for picture in question.pictures} == {(30, 40, 3)}


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=lambda ending: ending.name)
def test_a_run_that_is_ended_goes_on_where_it_was(dataset, ending):
    """Two replies come, the third never; what was answered is not asked again."""
    hang = threading.Event()
    answered: list[str] = []

    def answers(question: Question) -> Reply:
        if len(answered) < 2:
            answered.append(question.text)
            return Reply("Yes")
        hang.wait(20)
        return Reply("No")

    code = (
        "import sys, pipeline.verify.store as store, pipeline.cli.program as program;"
        "store.STAGE_ROWS = 1; sys.exit(program.main(sys.argv[1:]))"
    )
    with scripted_server(answers) as server:
        options = ["--endpoint", server.url, "--verifier", "judge-1", "--concurrency", "1"]
        command = [sys.executable, "-c", code, "verify", "--predictions", str(dataset), *options]
        process = subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        until = time.monotonic() + 60
        while len(server.questions) < 3 or len(list(dataset.glob("_state/verdicts/*.parquet"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(ending)
        errors = process.communicate(timeout=60)[1].decode()
        assert process.returncode == (-9 if ending == signal.SIGKILL else 130), errors
        hang.set()
        assert len(verdicts(dataset)) == (0 if ending == signal.SIGKILL else 2)
    with scripted_server(lambda _: Reply("No")) as server:
        result = verify(str(dataset), settings(server))
    assert (result.judged, result.judged_before, len(server.questions)) == (3, 2, 3)
    assert sorted(row["verdict"] for row in verdicts(dataset).values()) == [0, 0, 0, 1, 1]


def test_replies_of_the_last_moments_are_kept(dataset, monkeypatch):
    """All five rows are asked about when the run is interrupted."""

    def interrupt(_: object) -> None:
        until = time.monotonic() + 20
        while len(server.questions) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.verify.run._Run._collect", interrupt)
    with scripted_server(lambda _: Reply("Yes", after_s=0.3)) as server, pytest.raises(KeyboardInterrupt):
        verify(str(dataset), settings(server, concurrency=5))
    assert len(verdicts(dataset)) == 5


def test_two_runs_at_once_are_refused(dataset, job_here):
    arrived, go = threading.Event(), threading.Event()

    def answers(_: Question) -> Reply:
        arrived.set()
        go.wait(20)
        return Reply("Yes")

    with scripted_server(answers) as server:
        first = threading.Thread(target=verify, args=(str(dataset), settings(server)))
        first.start()
        assert arrived.wait(20)
        with pytest.raises(UsageError, match="in use by run"):
            verify(str(dataset), settings(server))
        go.set()
        first.join(20)
    assert len(verdicts(dataset)) == 5


def test_the_masks_stay_as_they_are_and_datasets_still_loads_them(dataset):
    datasets = pytest.importorskip("datasets")
    before = {file.name: file.read_bytes() for file in Path(dataset, "masks").iterdir()}
    with scripted_server(say_yes) as server:
        verify(str(dataset), settings(server))
    assert {file.name: file.read_bytes() for file in Path(dataset, "masks").iterdir()} == before
    loaded = datasets.load_dataset("parquet", data_files=f"{dataset}/verdicts/*.parquet", split="train")
    assert len(loaded) == 5
    assert FRAMES == 6
