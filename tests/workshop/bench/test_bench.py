"""The benchmark measures both arrangements, finds the same masks, and notices when they are not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.sam2.propagation import ObjectBatch
from pipeline.workshop.bench.agreement import EVERY_FRAME, agreement, disagreement, frame_ious, limits_of
from pipeline.workshop.bench.clip import bench_clip
from pipeline.workshop.bench.clock import StageClock
from pipeline.workshop.bench.model_benchmark import BenchSettings, ModelBenchmark, problems
from pipeline.workshop.bench.table import as_table
from tests.conftest import run_workshop

torch.set_num_threads(1)


def settings(untrained: Path, clips: Path, **more: Any) -> BenchSettings:
    video = str(clips / "JPEGImages/clip0")
    return BenchSettings(model=untrained, frames=7, keyframes=3, video=video, **more)


def test_it_runs_as_a_program(untrained: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    result = run_workshop(
        "bench", "--model", untrained, "--frames", 7, "--keyframes", 3, "--expressions", "1,2", "--json", target
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(target.read_text())
    one, two = report["results"]
    assert (one["expressions"], two["expressions"]) == (1, 2)
    assert two["published_s"] > one["published_s"]
    for entry in report["results"]:
        assert entry["ratio"] == pytest.approx(entry["published_s"] / entry["ours_s"])
        assert entry["worst_iou"] > 0.98
    # published: 3 K + (N - K) frames per expression
    encoder, memory = two["stages"]["image encoder"], two["stages"]["memory attention"]
    assert encoder["published_flops"] == 2 * 13 / 7 * encoder["ours_flops"]
    assert memory["ours_flops"] < memory["published_flops"]
    assert {"decode", "resize", "vision tower", "language model", "RLE", "writing"} < set(two["stages"])
    assert report["conditions"]["published_arrangement"] == "every expression measured"
    assert "worst IoU" in result.stdout


def test_wrong_options_end_with_one_line() -> None:
    for arguments in (["--expressions", "one"], ["--variants", "magic"], ["--job", "1"]):
        result = run_workshop("bench", *arguments)
        assert result.returncode == 2, result.stderr
        assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_job_is_timed_against_a_plain_loop(untrained: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    result = run_workshop("bench", "--model", untrained, "--job", 3, "--json", target)
    assert result.returncode == 0, result.stderr
    report = json.loads(target.read_text())
    assert report["ratio"] == pytest.approx(report["job_videos_per_s"] / report["loop_videos_per_s"], rel=0.02)
    assert set(report["busy"]) == {"ground", "segment"}
    assert min(report["busy"].values()) > 0


def test_different_masks_fail(untrained: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conditioned = ObjectBatch.conditioned
    monkeypatch.setattr(ObjectBatch, "conditioned", lambda self, i, f: -conditioned(self, i, f))
    report = ModelBenchmark(settings(untrained, clips, expressions=[1])).run()
    assert report["results"][0]["worst_iou"] < 0.9
    assert len(problems(report)) == 1


def test_measured_once_and_multiplied(untrained: Path, clips: Path) -> None:
    chosen = settings(untrained, clips, expressions=[1, 3], published_once=True, variants=["bfloat16"])
    report = ModelBenchmark(chosen).run()
    one, three = report["results"]
    assert three["published_s"] == pytest.approx(3 * one["published_s"])
    assert three["stages"]["decoders"]["published_flops"] == 3 * one["stages"]["decoders"]["published_flops"]
    assert not problems(report)
    (variant,) = three["variants"]
    assert variant["name"] == "bfloat16"
    assert 0 < variant["worst_iou"] < 1
    assert "multiplied by E" in as_table(report)


def test_sentences_differ_and_first_name_different_targets() -> None:
    with bench_clip(None, frames=8, height_width=(48, 64), expressions=100) as clip:
        assert len(list(Path(clip.location).iterdir())) == 8
        assert len(clip.sentences) == len(set(clip.sentences)) == 100
        assert len({text.split(" that ")[0] for text in clip.sentences[:4]}) == 4
    with bench_clip("my.mp4", frames=8, height_width=(48, 64), expressions=70) as clip:
        assert (clip.location, len(set(clip.sentences))) == ("my.mp4", 70)


def test_operations_are_counted_once_per_shape_and_summed() -> None:
    clock = StageClock()
    product = clock.wrap("product", torch.mm, count=True)
    for size in (4, 8, 8):
        product(torch.ones(size, size), torch.ones(size, size))
    assert clock.stages["product"].calls == 3
    assert clock.stages["product"].flops == 2 * (4**3 + 8**3 + 8**3)


def test_agreement_of_nothing_with_something() -> None:
    from pipeline.model.sa2va import ExpressionMasks
    from pipeline.model.segment import Track

    def answer(masks: list[Any]) -> ExpressionMasks:
        return ExpressionMasks(
            expression="", answer="", tracks=[Track(masks=masks)], frame_names=("0",), keyframes=[0], height=1, width=2
        )  # fmt: skip

    full, left = {"size": [1, 2], "counts": "02"}, {"size": [1, 2], "counts": "011"}
    assert frame_ious([answer([None])], [answer([None])]) == [1]
    assert frame_ious([answer([full])], [answer([None])]) == [0]
    assert frame_ious([answer([full])], [answer([left])]) == [0.5]


def test_one_frame_of_a_gpu_may_differ_and_many_may_not() -> None:
    on_gpu = limits_of("cuda", "bfloat16")
    noise = {"mean_iou": 0.985, "share_of_frames_alike": 0.99, "worst_iou": 0.74}
    assert disagreement(noise, on_gpu) is None
    assert "0.7400" in str(disagreement(noise | {"share_of_frames_alike": 0.9}, on_gpu))
    assert disagreement(noise | {"mean_iou": 0.96}, on_gpu) is not None
    assert limits_of("cpu", "float32") == EVERY_FRAME
    assert disagreement({"mean_iou": 0.999, "share_of_frames_alike": 0.999, "worst_iou": 0.97}, EVERY_FRAME)
    assert agreement([], [], EVERY_FRAME)["mean_iou"] == 1
