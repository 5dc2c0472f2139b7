"""The clips of ``sa2va-i demo``: complete, small, and what the workshop draws; the command itself."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.program import main
from pipeline.demo import FILES, copy_clips
from pipeline.manifest import read_manifest
from pipeline.masks import decode_mask
from pipeline.video.source import open_video
from pipeline.workshop import demo_clips
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_clips(tmp_path_factory.mktemp("demo") / "clips").parent


def test_the_clips_are_complete_and_small(folder: Path) -> None:
    packaged = {path.name for path in (ROOT / "pipeline" / "demo").iterdir() if path.is_file()} - {"__init__.py"}
    assert packaged == set(FILES) == {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000


def test_manifest_and_ground_truth_name_the_same(folder: Path) -> None:
    tasks = {task.video_id: task for task in read_manifest(str(folder / "manifest.jsonl"))}
    videos = json.loads((folder / "meta_expressions.json").read_text())["videos"]
    masks = json.loads((folder / "mask_dict.json").read_text())
    assert tasks.keys() == videos.keys() == demo_clips.CLIPS.keys()
    for video_id, video in videos.items():
        asked = {e.expression_id: e.text for e in tasks[video_id].expressions}
        assert asked == {key: value["exp"] for key, value in video["expressions"].items()}
        with open_video(tasks[video_id].video) as source:
            assert len(source) == len(video["frames"])
            (first,) = source.read([0])
        for value in video["expressions"].values():
            for number in value["anno_id"]:
                assert len(masks[str(number)]) == len(video["frames"])
                assert all(rle is None or rle["size"] == list(first.shape[:2]) for rle in masks[str(number)])


def test_the_workshop_draws_these_clips(folder: Path) -> None:
    drawn = demo_clips.draw("red")
    masks = json.loads((folder / "mask_dict.json").read_text())
    meta = json.loads((folder / "meta_expressions.json").read_text())["videos"]["red"]
    assert [e["exp"] for e in meta["expressions"].values()] == [e.text for e in drawn.expressions]
    (number,), (target,) = meta["expressions"]["0"]["anno_id"], drawn.expressions[0].targets
    assert np.array_equal(decode_mask(masks[str(number)][7]), drawn.owner[7] == target + 1)


def test_it_does_not_write_over_a_folder_of_something_else(tmp_path: Path, capsys) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "not the output of a demo" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "mine"
