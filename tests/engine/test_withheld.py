"""When failures of storages end a run, and when they are the video's own."""

import pytest

from pipeline.engine import withheld as module
from pipeline.engine.withheld import DENIED, LIMITS, UNAVAILABLE, UNREACHABLE, Withheld, storage_of
from pipeline.errors import AccessDeniedError, StorageUnavailableError
from pipeline.schema import Expression, VideoTask


def task(url: str) -> VideoTask:
    return VideoTask(video_id=url, video=url, expressions=(Expression(expression_id="0", text="the dog"),))


def refuse(held: Withheld, kind: str, times: int, folder: str = "s3://bucket") -> None:
    for number in range(times):
        held.add(task(f"{folder}/{number}.mp4"), {"error": f"{kind}: {folder}/{number}.mp4: cannot read"})


def test_storages_are_buckets_the_web_and_this_machine():
    assert storage_of("s3://bucket/a/b.mp4") == storage_of("s3://key:secret@bucket/c.mp4") == "s3://bucket"
    assert storage_of("https://a.org/b.mp4") == storage_of("http://c.org/b.mp4?token=1") == "the web"
    assert storage_of("/data/a.mp4") == "file://"


@pytest.mark.parametrize("kind", [UNAVAILABLE, DENIED, UNREACHABLE])
def test_refusals_in_a_row_end_the_run(kind):
    held = Withheld()
    refuse(held, kind, LIMITS[kind] - 1)
    with pytest.raises(StorageUnavailableError, match=rf"\({LIMITS[kind]} tried, none marked as failed; last: {kind}"):
        refuse(held, kind, 1)


def test_refusals_with_videos_served_in_between_do_not():
    held = Withheld()
    for number in range(30):
        refuse(held, UNREACHABLE, LIMITS[UNREACHABLE] - 1, "http://a.org")
        held.served(task(f"https://b.org/{number}.mp4"))
    assert len(held.of_kind(UNREACHABLE)) == 30 * (LIMITS[UNREACHABLE] - 1)


def test_what_another_storage_serves_does_not_count():
    held = Withheld()
    for number in range(LIMITS[UNAVAILABLE] - 1):
        refuse(held, UNAVAILABLE, 1)
        held.served(task(f"/data/{number}.mp4"))
    with pytest.raises(StorageUnavailableError, match="s3://bucket does not serve"):
        refuse(held, UNAVAILABLE, 1)


def test_forbidden_files_in_a_bucket_that_serves_others_do_not_end_the_run(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(module, "find", asked.append)
    held = Withheld()
    held.served(task("s3://bucket/good.mp4"))
    refuse(held, DENIED, 3 * LIMITS[DENIED])
    assert asked == ["s3://bucket/good.mp4"] * 3


def test_expired_credentials_end_it_although_the_bucket_served_before(monkeypatch):
    def find(url: str) -> None:
        raise AccessDeniedError("expired")

    monkeypatch.setattr(module, "find", find)
    held = Withheld()
    held.served(task("s3://bucket/good.mp4"))
    with pytest.raises(StorageUnavailableError, match="start the same command again"):
        refuse(held, DENIED, LIMITS[DENIED])
