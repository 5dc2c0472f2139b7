"""Which failures are tried again, where, and which are final; the stages are a script."""

import types
from collections.abc import Iterator

import pytest

from pipeline.engine import rounds as module
from pipeline.engine.attempts import NodeReport
from pipeline.engine.feed import Feed
from pipeline.engine.rounds import Rounds
from pipeline.engine.settings import WorkerSettings
from pipeline.errors import NodeError, StorageUnavailableError
from pipeline.schema import Expression, VideoTask

FULL = "NodeError: node h: disk full"
AWAY = "StorageUnavailableError: s3://b/v: 503"
DENIED = "AccessDeniedError: s3://b/v: 403"
DEAD_LINK = "UnreachableVideoError: http://a.org/v: HTTP 403"
FINE = NodeReport(unusable={}, is_stuck=False)


class Cluster:
    """Scripted rounds: what each says of a video (nothing: it is done), and of its nodes at the end."""

    def __init__(self, *script: tuple[dict[str, str], NodeReport]) -> None:
        self.script = list(script)
        self.without: list[set[str]] = []
        self.given: list[list[str]] = []
        self.closed = 0

    def graph(self, stages, rows, settings, placement, ledger, *, without) -> Iterator[dict]:
        failures, self.report = self.script.pop(0)
        self.without.append(set(without))
        self.given.append([])
        try:
            for task in rows:
                self.given[-1].append(task.video_id)
                error = failures.get(task.video_id)
                yield {
                    "video_id": task.video_id,
                    "expression_ids": ["0"],
                    "withheld": error is not None,
                    "error": error,
                }
        except GeneratorExit:
            self.closed += 1
            raise


class Windows:
    """Hands the tasks themselves to the scripted stages, as they are put."""

    def __init__(self, number: int) -> None:
        self.number, self.tasks, self.held = number, [], set()

    def put(self, number, tasks) -> None:
        self.tasks.extend(tasks)
        self.held.add(number)

    def drop(self, number) -> None:
        self.held.remove(number)

    def rows(self):
        yield from self.tasks  # also those that are put meanwhile
        assert not self.held

    def close(self) -> None:
        pass


@pytest.fixture
def work(monkeypatch):
    """Work on videos a, b, ... in such a cluster; the ids of those done, and the messages of those that failed."""

    def run(cluster: Cluster, videos: str = "abc", *, is_serving: bool = False, nodes: int = 2):
        remote = lambda answer: types.SimpleNamespace(remote=answer)  # noqa: E731
        ledger = types.SimpleNamespace(begin_round=remote(lambda: None), report=remote(lambda: cluster.report))
        monkeypatch.setattr(module, "start_ledger", lambda: ledger)
        monkeypatch.setattr(module.ray, "get", lambda value: value)
        monkeypatch.setattr(module, "run_graph", cluster.graph)
        monkeypatch.setattr(module, "Windows", Windows)
        monkeypatch.setattr(module.Withheld, "is_serving", lambda self, task: is_serving)

        def place_without(given_up):
            if len(given_up) == nodes:
                raise NodeError("no node is left that can work")
            return types.SimpleNamespace(threads=1)

        rounds = Rounds(
            (),
            list,
            WorkerSettings(config=None, model=None),  # type: ignore[arg-type]
            types.SimpleNamespace(threads=1),  # type: ignore[arg-type]
            place_without=place_without,
            report_line=lambda line: None,
        )
        tasks = [
            VideoTask(video_id=name, video=f"s3://b/{name}", expressions=(Expression(expression_id="0", text="x"),))
            for name in videos
        ]
        feed = Feed([lambda pair=tasks[at : at + 2]: pair for at in range(0, len(tasks), 2)], ahead=3)
        results = [(task.video_id, row["error"]) for task, row in rounds.run(feed)]
        return [video for video, error in results if error is None], dict(r for r in results if r[1])

    return run


def test_a_video_that_one_node_failed_is_done_on_another(work):
    cluster = Cluster(({"b": FULL}, FINE), ({}, FINE))
    assert work(cluster) == (["a", "c", "b"], {})
    assert cluster.given == [["a", "b", "c"], ["b"]]


def test_a_node_that_fails_everything_is_not_used_again(work):
    bad = NodeReport(unusable={"n1": FULL}, is_stuck=False)
    cluster = Cluster(({"a": FULL, "b": FULL}, bad), ({}, FINE))
    assert work(cluster) == (["c", "a", "b"], {})
    assert cluster.without == [set(), {"n1"}]


def test_a_stage_without_a_usable_node_ends_the_round_at_once(work):
    cluster = Cluster(({"a": FULL}, NodeReport(unusable={"n1": FULL}, is_stuck=True)), ({}, FINE))
    assert work(cluster) == (["a", "b", "c"], {})
    assert cluster.closed == 1


def test_no_node_left_ends_the_run(work):
    bad = NodeReport(unusable={"n1": FULL}, is_stuck=True)
    with pytest.raises(NodeError, match="no node is left"):
        work(Cluster(({"a": FULL}, bad)), nodes=1)


def test_a_single_node_that_does_nothing_ends_the_run(work):
    with pytest.raises(NodeError, match="disk full"):
        work(Cluster(({"a": FULL}, FINE)), "a")


def test_a_video_that_no_node_can_hold_fails_while_others_are_done(work):
    cluster = Cluster(({"b": FULL}, FINE), ({"b": FULL}, FINE))
    assert work(cluster) == (["a", "c"], {"b": FULL})


def test_the_stages_are_ended_when_the_run_is(work):
    """Whatever ends it: what is left open, Ray Data shuts down at the end of the process, and hangs."""
    cluster = Cluster((dict.fromkeys("abcdefghij", DENIED), FINE))
    with pytest.raises(StorageUnavailableError) as raised:
        work(cluster, "abcdefghijklm")
    assert cluster.closed == 1, raised  # while the traceback still holds everything


def test_a_storage_that_was_away_gets_a_second_round(work):
    assert work(Cluster(({"b": AWAY}, FINE), ({}, FINE))) == (["a", "c", "b"], {})


def test_a_storage_that_stays_away_ends_the_run_although_it_served_before(work):
    with pytest.raises(StorageUnavailableError, match="none marked as failed"):
        work(Cluster(({"b": AWAY}, FINE), ({"b": AWAY}, FINE)))


def test_credentials_that_expire_over_the_last_videos_fail_none_of_them(work):
    with pytest.raises(StorageUnavailableError, match="none marked as failed"):
        work(Cluster(({"b": DENIED, "c": DENIED}, FINE)))


def test_one_forbidden_file_of_a_bucket_that_serves_is_a_failed_video(work):
    assert work(Cluster(({"b": DENIED}, FINE)), is_serving=True) == (["a", "c"], {"b": DENIED})


def test_a_dead_link_is_a_failed_video(work):
    assert work(Cluster(({"b": DEAD_LINK}, FINE))) == (["a", "c"], {"b": DEAD_LINK})


def test_a_video_that_met_a_bad_node_twice_gets_another(work):
    bad = NodeReport(unusable={"n1": FULL}, is_stuck=False)
    cluster = Cluster(({"b": FULL}, FINE), ({"b": FULL}, bad), ({}, FINE))
    assert work(cluster) == (["a", "c", "b"], {})


def test_nothing_fails_while_no_video_at_all_was_done(work):
    with pytest.raises(NodeError, match="no video can be done: NodeError: node h: disk full"):
        work(Cluster(({"a": FULL, "b": AWAY}, FINE)), "ab")
