"""The report as a file: what is in it, whatever the dataset holds; and the command that writes it."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from report_datasets import HOSTILE, failed_row, track_row, write_dataset

from pipeline.dataset import DatasetWriter
from pipeline.errors import UsageError
from pipeline.report import VideoFrames, find_video_frames, write_report
from pipeline.report.build import link_between
from pipeline.report.charts import histogram
from pipeline.report.pictures import shrink
from pipeline.schema import Expression, VideoTask, failed_rows
from tests.conftest import run_job


class Reader(HTMLParser):
    """Elements and their attributes; text of headings."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.headings = [], []
        self._in_heading = False
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "h3":
            self._in_heading = True
            self.headings.append("")

    def handle_endtag(self, tag):
        self._in_heading = self._in_heading and tag != "h3"

    def handle_data(self, data):
        if self._in_heading:
            self.headings[-1] += data


def read_page(path):
    return Reader(path.read_text("utf-8"))


def cards_of(path):
    return [attributes for tag, attributes in read_page(path).elements if attributes.get("class") == "card"]


def masks_of(frames=5, height=20, width=30):
    masks = np.zeros((frames, height, width), bool)
    masks[:, 4:12, 3:18] = True
    return masks


def test_text_that_means_harm_stays_text(reported):
    page = read_page(reported.page)
    assert HOSTILE in page.headings
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert sum("type" not in attributes for attributes in scripts) == 1  # the page's own; all others are inert
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert not [tag for tag, attributes in page.elements if tag == "img"]


def test_nothing_in_the_page_refers_to_the_network(reported):
    page = read_page(reported.page)
    references = [a.get("src") or a.get("href") for _, a in page.elements if a.get("src") or a.get("href")]
    assert references
    assert not [reference for reference in references if re.match(r"[a-z]+:|//", reference)]
    assert not re.search(r"url\(|@import", reported.page.read_text("utf-8"))


def test_links_lead_to_the_rows_and_to_the_overlay_video(reported):
    page = read_page(reported.page)
    targets = [a["href"] for tag, a in page.elements if tag == "a" and not a["href"].startswith("#")]
    files = {(reported.page.parent / target).resolve() for target in targets}
    assert {path.suffix for path in files} == {".parquet", ".mp4"}
    assert all(path.is_file() for path in files)


def test_the_query_to_copy_finds_the_rows(reported):
    import duckdb

    queries = [a["data-copy"] for _, a in read_page(reported.page).elements if "data-copy" in a]
    found = [duckdb.sql(query).fetchall() for query in queries]
    assert sum(map(len, found)) == reported.summary.expressions + 1  # one answer has two objects


def test_every_status_is_there_and_failures_are_counted_by_cause(reported):
    assert {card["data-status"] for card in cards_of(reported.page)} == {"ok", "no_object", "failed"}
    content = reported.page.read_text("utf-8")
    assert "<th scope=row>VideoError</th><td>1</td>" in content
    assert "40 frames of 4 videos in 20 s: 2 frames/s" in content
    assert "configuration: num_keyframes" in content


def test_jf_is_that_of_the_evaluation(reported):
    shown = {card["data-search"]: float(card["data-jf"]) for card in cards_of(reported.page) if card["data-jf"]}
    assert sorted(shown.values()) == pytest.approx(
        sorted(j.both for j in reported.truth.truth_scores.values()), abs=1e-5
    )
    assert len(set(shown.values())) > 3


def test_an_answer_is_as_good_as_its_worst_object(reported):
    (card,) = [card for card in cards_of(reported.page) if "both of them" in card["data-search"]]
    assert float(card["data-score"]) == pytest.approx(0.2)


def test_the_same_dataset_gives_the_same_file(reported, tmp_path):
    contents = []
    for name in ("a.html", "b.html"):
        with find_video_frames({}, str(reported.clips / "manifest.jsonl")) as video_frames:
            write_report(reported.dataset, str(tmp_path / name), video_frames, items=5)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert len(cards_of(tmp_path / "a.html")) == 5


def test_masks_are_drawn_on_plain_ground_when_videos_are_gone(tmp_path):
    rows = [track_row("gone", "0", "the thing", masks_of())]
    dataset = write_dataset(tmp_path / "d", [rows], {"configuration": {"manifest": "/nowhere/manifest.jsonl"}})
    with find_video_frames({"configuration": {"manifest": "/nowhere/manifest.jsonl"}}) as video_frames:
        summary = write_report(dataset, str(tmp_path / "r.html"), video_frames)
    assert summary.without_pictures == summary.shown == 1
    content = (tmp_path / "r.html").read_text("utf-8")
    assert "The video cannot be shown: /nowhere/manifest.jsonl" in content
    item = json.loads(re.search(r'id="item-0">(.*?)</script>', content)[1])
    assert item["ground"] is None
    assert [frame[0] for frame in item["frames"]] == [f"{i:05d}" for i in range(5)]
    assert all(frame[1] for frame in item["frames"])


def test_a_video_of_another_size_is_not_laid_under_the_masks(clips, tmp_path):
    dataset = write_dataset(tmp_path / "d", [[track_row("clip0", "0", "the thing", masks_of())]])
    with find_video_frames({}, str(clips / "manifest.jsonl")) as video_frames:
        write_report(dataset, str(tmp_path / "r.html"), video_frames)
    assert "is 256x192 pixels, its masks are 30x20" in (tmp_path / "r.html").read_text("utf-8")


def test_videos_are_found_by_name_when_no_manifest_is_left(clips):
    with find_video_frames({}, videos=str(clips / "JPEGImages")) as video_frames:
        frames = list(video_frames.read("clip0", ["00000", "00003"], (192, 256)))
    assert [frame.shape for frame in frames] == [(192, 256, 3)] * 2


def test_a_manifest_that_is_named_must_be_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        find_video_frames({}, str(tmp_path / "manifest.jsonl"))


def test_damaged_masks_and_foreign_rows_do_not_stop_the_report(tmp_path):
    row = track_row("a", "0", "the thing", masks_of())
    row.masks[2] = {"size": [20, 30], "counts": "nonsense"}
    row.masks[3] = {"size": [9999, 2], "counts": "06"}
    dataset = write_dataset(tmp_path / "d", [[row, failed_row("a", "1", "x", "no kind of error")]])
    (tmp_path / "d" / "run.json").write_text('["not ours"]')
    with VideoFrames({}, "no videos") as video_frames:
        write_report(dataset, str(tmp_path / "r.html"), video_frames)
    content = (tmp_path / "r.html").read_text("utf-8")
    assert "mask is damaged" in content
    assert "<th scope=row>unknown</th><td>1</td>" in content


def test_a_dataset_without_rows_gives_a_report(tmp_path):
    dataset = write_dataset(tmp_path / "d", [], {"state": "running"})
    with VideoFrames({}) as video_frames:
        assert write_report(dataset, str(tmp_path / "r.html"), video_frames).shown == 0
    assert "no tracks" in (tmp_path / "r.html").read_text("utf-8")


def test_links_only_where_both_files_are_here():
    assert link_between("/a/b/report.html", "/a/d/masks/x y#1.parquet") == "../d/masks/x%20y%231.parquet"
    assert link_between("/a/report.html", "s3://b/masks/x.parquet") is None


def test_a_histogram_counts_every_value_once():
    svg = histogram([-1, 0.0, 0.04, 0.5, 1.0, 7], [0, 0.5, 1], label=str, ticks=(0, 1), of="tracks")
    assert re.findall(r": (\d+) tracks</title>", svg) == ["3", "3"]


def test_a_small_mask_does_not_vanish_when_shrunk():
    mask = np.zeros((1000, 2000), bool)
    mask[500, 900] = True
    assert shrink(mask).sum() == 1
    assert not shrink(np.zeros((1000, 2000), bool)).any()


def test_the_command(reported, tmp_path):
    target = tmp_path / "r.html"
    done = run_job("report", "--predictions", reported.dataset, "--output", target, "--items", "3")
    assert done.returncode == 0, done.stderr
    assert f"report: {target}  (3 of {reported.summary.expressions} expressions shown" in done.stdout
    assert len(cards_of(target)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--predictions"),
        (["--predictions", "/nowhere"], "nothing to do"),
        (["--predictions", "/nowhere", "--output", "r.html"], "not a mask dataset"),
        (["--predictions", "/nowhere", "--output", "r.html", "--items", "0"], "items is 0"),
        (["--predictions", "/nowhere", "--output", "r.html", "--benchmark", "mevis"], "go together"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    done = run_job("report", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_secret_of_an_error_or_a_location_is_on_the_page(tmp_path):
    (tmp_path / "out" / "masks").mkdir(parents=True)
    video = "https://me:hush-hush@host/a.mp4?X-Amz-Signature=sig-nature"
    task = VideoTask(video_id="v", video=video, expressions=(Expression(expression_id="0", text="a dog"),))
    DatasetWriter(str(tmp_path / "out")).commit(failed_rows(task, f"VideoError: {video}: HTTP 403"))
    run = {"configuration": {"manifest": video}, "model": {"source": video}, "started_at": video}
    (tmp_path / "out" / "run.json").write_text(json.dumps(run))
    with find_video_frames(run) as video_frames:
        write_report(str(tmp_path / "out"), str(tmp_path / "r.html"), video_frames)
    page = (tmp_path / "r.html").read_text()
    assert "VideoError" in page
    assert "hush-hush" not in page
    assert "sig-nature" not in page
