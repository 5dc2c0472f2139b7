"""Datasets in, one dataset out: on Ray, started again, with what is missing said and what changed refused."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.combine.inputs import read_inputs
from pipeline.combine.on_cluster import combine_on_cluster
from pipeline.combine.run import combine
from pipeline.combine.settings import CombineSettings
from pipeline.combine.video import Combiner
from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.files import mask_files
from pipeline.dataset.verification import DamagedDatasetError
from pipeline.errors import PipelineError, UsageError
from pipeline.schema import VERDICTS_SCHEMA, Expression, MaskRow, Status, VideoTask
from tests.dataset.conftest import build_row, damage_masks

VIDEOS = [f"clip{number:02d}" for number in range(9)]
AVERAGE = CombineSettings()


def write(
    folder: Path, *, seed: int, parts: int = 3, without: tuple[str, ...] = (), failing: tuple[str, ...] = ()
) -> str:
    """A finished dataset: two expressions a video, but for a video that is left out and one whose second one failed."""
    with OutputDirectory(str(folder)) as output:
        output.begin(identity={"model_fingerprint": "3f2a", "seed": seed}, description={}, parts=parts)
        for number, video_id in enumerate(VIDEOS):
            if video_id == without:
                continue
            rows = [build_row(video_id, "0", seed=seed + number), build_row(video_id, "1", seed=seed + number + 50)]
            if video_id == failing:
                rows[1] = MaskRow(
                    video_id=video_id,
                    expression_id="1",
                    expression="the thing 1",
                    status="failed",
                    error="VideoError: cut",
                )
            output.commit(rows)
        output.finish({})
    return str(folder)


def rows_of(dataset: str) -> dict[tuple[str, str], MaskRow]:
    found = [record.row for record in MaskDataset(dataset)]
    assert len({(row.video_id, row.expression_id, row.object_id) for row in found}) == len(found)
    return {(row.video_id, row.expression_id): row for row in found}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three of other seeds and numbers of parts; the second lacks a video, and one of its expressions failed."""
    folder = tmp_path_factory.mktemp("datasets")
    second = write(folder / "b", seed=100, parts=2, without="clip03", failing="clip05")
    return [write(folder / "a", seed=0), second, write(folder / "c", seed=200)]


def test_every_expression_once_with_lineage_and_what_was_missing(datasets, tmp_path, shared_ray) -> None:
    output = str(tmp_path / "out")
    done = combine([datasets[0] + "=2", *datasets[1:]], output, AVERAGE)
    assert (done.counts.videos, done.counts.expressions, done.counts.failed) == (9, 18, 0)
    assert done.incomplete == 3
    assert (done.contents.absent, done.contents.failed) == ([0, 2, 0], [0, 1, 0])
    rows = rows_of(output)
    assert rows["clip03", "0"].error == f"Note: combined without {datasets[1]} (has no row)"
    assert rows["clip05", "1"].error == f"Note: combined without {datasets[1]} (failed: VideoError: cut)"
    assert rows["clip05", "0"].error is None
    assert rows["clip00", "0"].masks != rows_of(datasets[0])["clip00", "0"].masks  # two votes of four tie: kept
    run = json.loads(Path(output, "run.json").read_text())
    assert run["parts"] == 3
    assert run["combined_from"][0] == {"dataset": datasets[0], "weight": 2.0}
    assert run["identity"]["dataset_2_seed"] == 100
    assert "| dataset_1_weight | 2.0 |" in Path(output, "README.md").read_text()
    again = combine([datasets[0] + "=2", *datasets[1:]], output, AVERAGE)
    assert (again.videos, again.counts, again.incomplete) == (0, done.counts, 3)


def test_interrupted_it_goes_on_and_gives_the_same_dataset(datasets, tmp_path, shared_ray, monkeypatch) -> None:
    whole = str(tmp_path / "whole")
    combine(datasets, whole, AVERAGE)
    committed, seen = OutputDirectory.committed, []

    def interrupted(self: OutputDirectory, video_id: str) -> None:
        committed(self, video_id)
        seen.append(video_id)
        if len(seen) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(OutputDirectory, "committed", interrupted)
    output = str(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        combine(datasets, output, AVERAGE)
    monkeypatch.undo()
    done = combine(datasets, output, AVERAGE)
    assert 0 < done.videos <= 5
    assert rows_of(output) == rows_of(whole)
    files = [[pq.read_table(file.url) for file in mask_files(one)] for one in (output, whole)]
    assert files[0] == files[1]


def test_another_configuration_or_changed_datasets_are_refused(datasets, tmp_path, shared_ray) -> None:
    output = str(tmp_path / "out")
    combine(datasets[::2], output, AVERAGE)
    for other, settings, says in (
        (datasets, AVERAGE, "dataset_2: c -> b"),
        (datasets[::2], CombineSettings(mode="best"), "combined_mode: average -> best"),
        ([datasets[0] + "=3", datasets[2]], AVERAGE, "dataset_1_weight: 1.0 -> 3.0"),
    ):
        with pytest.raises(UsageError, match=says):
            combine(other, output, settings)
    again = write(tmp_path / "c", seed=300)
    mine = str(tmp_path / "mine")
    combine([datasets[0], again], mine, AVERAGE)
    write(tmp_path / "other", seed=400, without="clip00")
    (tmp_path / "c").rename(tmp_path / "old")
    (tmp_path / "other").rename(tmp_path / "c")
    with pytest.raises(UsageError, match="dataset_2_version"):
        combine([datasets[0], again], mine, AVERAGE)


def test_damage_stops_it_or_counts_as_missing(datasets, tmp_path, shared_ray) -> None:
    damaged = write(tmp_path / "d", seed=500, parts=1)
    damage_masks(Path(mask_files(damaged)[0].url))
    with pytest.raises(DamagedDatasetError, match="clip00"):
        combine([datasets[0], damaged], str(tmp_path / "out"), AVERAGE)
    done = combine([datasets[0], damaged], str(tmp_path / "out2"), AVERAGE, allow_missing=True)
    assert (done.counts.ok, done.incomplete) == (18, 18)
    Path(mask_files(damaged)[0].url).unlink()
    with pytest.raises(PipelineError, match="18 rows that its run wrote are in no file any more"):
        combine([datasets[0], damaged], str(tmp_path / "out3"), AVERAGE)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a"], "at least two"),
        (["a", "b", "a=2"], "named twice"),
        (["a", "b=0"], "the weight after ="),
        (["a", "no-such"], "not a mask dataset"),
    ],
)
def test_datasets_that_cannot_be_combined_are_bad_usage(arguments, says, datasets, tmp_path, job_here) -> None:
    paths = dict(zip("abc", datasets, strict=True))
    given = [paths.get(text.split("=")[0], text) + text[1:] * (text[1:2] == "=") for text in arguments]
    code, _, errors = job_here("combine")("--predictions", *given, "--output", tmp_path / "out")
    assert code == 2
    assert says in errors


def test_weighing_by_what_is_not_there_is_bad_usage(datasets, tmp_path, job_here) -> None:
    given = ["--predictions", *datasets, "--output", tmp_path / "out"]
    for more, says in (
        (["--weigh-by", "presence"], "no row has a presence"),
        (["--presence-votes", "4"], "there are 3 datasets"),
    ):
        code, _, errors = job_here("combine")(*given, *more)
        assert code == 2
        assert says in errors
    code, _, errors = job_here("combine")("--predictions", *datasets, "--output", datasets[0])
    assert code == 2
    assert "is one of the datasets" in errors


def test_the_program_says_how_many_were_incomplete_and_ends_with_1(datasets, tmp_path, shared_ray, job_here) -> None:
    given = ["--predictions", datasets[0], f"{datasets[1]}=0.5", "--predictions", datasets[2]]
    code, said, _ = job_here("combine")(*given, "--output", tmp_path / "out")
    assert code == 1
    assert f"{datasets[1]}: weight 0.5, 16 of 18 expressions, 1 of them failed" in said
    assert "3 expressions were combined without some of the datasets" in said
    judged = tmp_path / "judged"
    shutil.copytree(datasets[0], judged)
    (judged / "verdicts").mkdir()
    pq.write_table(VERDICTS_SCHEMA.empty_table(), judged / "verdicts" / "part-00000-of-00001.parquet")
    code, said, _ = job_here("combine")("--predictions", judged, datasets[2], "--output", tmp_path / "out2")
    assert code == 0
    assert f"{judged}: its verdicts of a second model are of its own masks and stay there" in said
    assert f"{datasets[2]}: its verdicts" not in said
    assert "18 rows for 18 expressions of 9 videos (18 ok" in said


def test_disagreement_about_a_video_is_a_failed_row_not_a_mixture(datasets, tmp_path, shared_ray) -> None:
    other = tmp_path / "other"
    with OutputDirectory(str(other)) as output:
        output.begin(identity={}, description={}, parts=1)
        output.commit([build_row("clip00", "0", frames=5), build_row("clip00", "1")])
        output.finish({})
    done = combine([datasets[0], str(other)], str(tmp_path / "out"), AVERAGE)
    rows = rows_of(str(tmp_path / "out"))
    assert rows["clip00", "0"].status == Status.FAILED
    assert "differ in frames: 4 and 5" in rows["clip00", "0"].error
    assert rows["clip00", "1"].status == Status.OK
    assert done.counts.failed == 1


def test_a_video_that_ends_its_worker_costs_only_itself(datasets, tmp_path, shared_ray) -> None:
    class Deadly(Combiner):
        """Ends its worker at one video, as a library that crashes would."""

        def combine(self, tasks: Sequence[VideoTask]) -> None:
            if any(task.video_id == "clip04" for task in tasks):
                os._exit(1)
            super().combine(tasks)

    expressions = tuple(Expression(expression_id=key, text=f"the thing {key}") for key in "01")
    tasks = [VideoTask(video_id=name, video="a", expressions=expressions) for name in VIDEOS]
    with OutputDirectory(str(tmp_path / "out")) as output:
        output.begin(identity={}, description={}, parts=1)
        work = Deadly(inputs=read_inputs(datasets), settings=AVERAGE, writer=output.writer, skip_damaged=False)
        output.expect(tasks)
        for video_id in combine_on_cluster(work, tasks):
            output.committed(video_id)
        counts = output.finish({})
    assert (counts.videos, counts.failed, counts.ok) == (9, 2, 16)
    assert rows_of(str(tmp_path / "out"))["clip04", "0"].error.startswith("WorkerCrashedError")
