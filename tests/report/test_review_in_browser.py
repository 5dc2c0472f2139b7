"""Reviewing in headless Chromium with the keyboard alone: decisions, comments, and the edit file that is applied."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from report_datasets import HOSTILE, HOSTILE_ID, track_row, write_dataset
from test_report_in_browser import chromium, until  # noqa: F401 - a fixture

from pipeline.report import find_video_frames, read_run, write_report
from pipeline.versions import diff, make_version, read_edits

ITEMS = 500


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """500 expressions of 50 videos, one with ids and text that mean harm; one picked for review with its reason."""
    folder = tmp_path_factory.mktemp("review") / "out"
    masks = np.zeros((3, 24, 32), bool)
    masks[:, 4:12, 6:20] = True
    videos = [
        [track_row(f"v{v:02d}", str(e), f"thing {e} of {v}", masks, score=(10 * v + e) / ITEMS) for e in range(10)]
        for v in range(ITEMS // 10 - 1)
    ]
    videos.append([track_row(HOSTILE_ID, HOSTILE_ID + str(e), HOSTILE, masks, score=0.5) for e in range(10)])
    url = write_dataset(folder, videos, {"identity": {}})
    line = {"video_id": "v00", "expression_id": "0", "object_id": 0, "reason": "score 0.00", "action": "undecided"}
    Path(url, "review.jsonl").write_text(json.dumps(line) + "\n")
    return url


@pytest.fixture(scope="module")
def page_file(dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    with find_video_frames(read_run(dataset)) as frames:
        assert write_report(dataset, str(file), frames, items=ITEMS).shown == ITEMS
    return file


@pytest.fixture
def context(chromium):  # noqa: F811
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    yield context
    context.close()


def open_page(context, page_file: Path):
    page = context.new_page()
    page.goto(page_file.as_uri())
    return page


def start(page) -> None:
    """Tab to the button that begins a review, and press it."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "start":
            break
    page.keyboard.press("Enter")


def focused(page) -> str:
    return page.evaluate("document.activeElement.closest('.card')?.querySelector('h3').textContent ?? ''")


def told(page) -> str:
    return page.evaluate("document.getElementById('review-count').value")


def download(page, tmp_path: Path) -> Path:
    with page.expect_download() as waiting:
        page.keyboard.press("e")
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    return file


def test_a_review_by_keyboard_becomes_a_version(context, page_file: Path, dataset: str, tmp_path: Path) -> None:
    page = open_page(context, page_file)
    start(page)
    first = focused(page)
    page.keyboard.press("r")
    second = focused(page)
    assert first != second
    page.keyboard.press("a")
    page.keyboard.press("c")
    page.keyboard.type("a or r? j")
    page.keyboard.press("Enter")
    third = focused(page)
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.keyboard.press("u")
    assert told(page) == f"2 of {ITEMS} decided: 1 accepted, 1 rejected, 0 not there"
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.wait_for_timeout(2000)  # Chromium hands what a page stores to its own process a little later
    page.close()

    page = open_page(context, page_file)  # a browser that was closed meanwhile
    assert told(page) == f"3 of {ITEMS} decided: 1 accepted, 1 rejected, 1 not there"
    start(page)
    assert focused(page) not in (first, second)
    file = download(page, tmp_path)
    edits = read_edits(str(file))
    by_text = {edit.action.value: edit for edit in edits.edits}
    assert set(by_text) == {"keep", "drop", "absent", "undecided"} - ({"undecided"} if len(edits.edits) == 3 else set())
    assert [edit.comment for edit in edits.edits if edit.comment] == ["a or r? j"]
    assert third
    make_version(dataset, edits, str(tmp_path / "new"))
    found = diff(dataset, str(tmp_path / "new"))
    dropped = by_text["drop"]
    assert [row[:2] for row in found.dropped] == [(dropped.video_id, dropped.expression_id)]
    assert [item.status for item in found.changed] == [("ok", "no_object")]
    assert found.same == ITEMS - 2


def test_ids_that_mean_harm_survive(context, page_file: Path, dataset: str, tmp_path: Path) -> None:
    page = open_page(context, page_file)
    page.locator("[name=search]").fill("</script>")
    until(page, "document.querySelector('output[name=count]').value.startsWith('10 of')")
    page.keyboard.press("Tab")
    page.evaluate("document.querySelector('[name=start]').focus()")
    page.keyboard.press("Enter")
    page.keyboard.press("r")
    make_version(dataset, read_edits(str(download(page, tmp_path))), str(tmp_path / "new"))
    (row,) = diff(dataset, str(tmp_path / "new")).dropped
    assert row[0] == HOSTILE_ID


def test_filters_and_reasons(context, page_file: Path) -> None:
    page = open_page(context, page_file)
    assert page.locator(".reason").all_inner_texts() == ["Worth a look: score 0.00"]
    page.locator("[name=decision]").select_option("none")
    page.evaluate("document.querySelector('[name=start]').focus()")
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("a")
    assert page.inner_text("output[name=count]") == f"{ITEMS - 3} of {ITEMS} shown"
    page.locator("[name=decision]").select_option("keep")
    assert page.inner_text("output[name=count]") == f"3 of {ITEMS} shown"


@pytest.mark.slow
def test_five_hundred_items_are_fluid(context, page_file: Path) -> None:
    """Main thread's own time a decision, layout and painting included: a frame of a 30 Hz screen has 33 ms."""
    page = open_page(context, page_file)
    start(page)
    devtools = context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def used() -> dict[str, float]:
        return {item["name"]: item["value"] for item in devtools.send("Performance.getMetrics")["metrics"]}

    before, started = used(), time.monotonic()
    for index in range(ITEMS):
        page.keyboard.press("ar"[index % 2])
    assert told(page).startswith(f"{ITEMS} of {ITEMS} decided")
    spent = {
        name: round(1000 * (value - before[name]) / ITEMS, 2)
        for name, value in used().items()
        if name.endswith("Duration")
    }
    print(f"{ITEMS} decisions in {time.monotonic() - started:.1f} s; ms of the main thread each: {spent}")
    assert spent["TaskDuration"] < 33
