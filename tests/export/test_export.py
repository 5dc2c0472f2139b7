"""Exports: exact layouts, round trips through the scorer, and what happens where answers are missing."""

import io
import json
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from small_benchmark import EXPRESSIONS, FRAMES, SIZES, draw, mask_row, truth_rows, write_dataset

from pipeline.dataset import decode_masks
from pipeline.errors import PipelineError, UsageError
from pipeline.evaluation import evaluate
from pipeline.export import IncompleteDatasetError, check, export
from pipeline.export.answers import Answers
from pipeline.export.expected import read_expected

PICTURES = sum(len(EXPRESSIONS[video]) * len(FRAMES[video]) for video in EXPRESSIONS)


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        return sorted(archive.namelist())


def picture(path, name):
    with zipfile.ZipFile(path) as archive:
        return Image.open(io.BytesIO(archive.read(name)))


def expected_names(prefix=""):
    return sorted(
        f"{prefix}{video}/{expression}/{frame}.png"
        for video in EXPRESSIONS
        for expression in EXPRESSIONS[video]
        for frame in FRAMES[video]
    )


@pytest.mark.parametrize(
    ("name", "prefix", "foreground"), [("mevis", "", 255), ("ref-youtube-vos", "Annotations/", 255), ("revos", "", 1)]
)
def test_zip_layout_sizes_modes_and_values(benchmark_of, name, prefix, foreground):
    output = benchmark_of.folder / "submission.zip"
    result = export(benchmark_of.dataset, benchmark_of.manifest, name, str(output))
    assert result.written == PICTURES
    assert names_in(output) == expected_names(prefix)
    for path in names_in(output):
        video, expression, frame = path.removeprefix(prefix).removesuffix(".png").split("/")
        image = picture(output, path)
        assert (image.format, image.mode, image.size) == ("PNG", "L", SIZES[video][::-1])
        objects = EXPRESSIONS[video][expression][1]
        target = draw(video)[objects, FRAMES[video].index(frame)].any(axis=0)
        assert np.array_equal(np.asarray(image), target * foreground)
    assert check(str(output), benchmark_of.manifest, name) == []


@pytest.mark.parametrize("form", ["mevis.zip", "mevis", "ref-youtube-vos.zip", "revos.zip", "png"])
def test_ground_truth_exported_scores_exactly_one(benchmark_of, form):
    output = benchmark_of.folder / form
    export(benchmark_of.dataset, benchmark_of.manifest, form.removesuffix(".zip"), str(output))
    for predictions in (benchmark_of.dataset, str(output)):
        result = evaluate("mevis", benchmark_of.truth, predictions).as_json()
        assert (result["J"], result["F"], result["J&F"], result["n_missing"]) == (1.0, 1.0, 1.0, 0)
        assert result["n_expressions"] == 5


def test_a_dataset_scores_as_its_zip(benchmark_of):
    rng = np.random.default_rng(3)
    rows = []
    for video in EXPRESSIONS:
        rows.append(
            [
                mask_row(video, key, text, rng.random((len(FRAMES[video]), *SIZES[video])) < 0.3)
                for key, (text, _) in EXPRESSIONS[video].items()
            ]
        )
    dataset = write_dataset(benchmark_of.folder / "noisy", rows)
    output = str(benchmark_of.folder / "noisy.zip")
    export(dataset, benchmark_of.manifest, "mevis", output)
    by_dataset, by_zip = (evaluate("mevis", benchmark_of.truth, source).as_json() for source in (dataset, output))
    assert by_dataset["per_expression"] == by_zip["per_expression"]
    assert by_dataset["J&F"] == by_zip["J&F"] < 1


def test_several_objects_first_or_union(benchmark_of):
    video = "v0aa"
    masks = draw(video)
    rows = [row for row in truth_rows(video) if row.expression_id != "1"]
    rows += [mask_row(video, "1", "both", masks[number], object_id=number) for number in (0, 1)]
    dataset = write_dataset(benchmark_of.folder / "several", [rows, truth_rows("v1bb")])
    for objects, target in (("first", masks[0]), ("union", masks.any(axis=0))):
        output = benchmark_of.folder / f"{objects}.zip"
        export(dataset, benchmark_of.manifest, "mevis", str(output), objects=objects)
        for index, frame in enumerate(FRAMES[video]):
            assert np.array_equal(np.asarray(picture(output, f"v0aa/1/{frame}.png")) > 0, target[index])
        by_dataset = evaluate("mevis", benchmark_of.truth, dataset, objects=objects).as_json()
        assert (
            by_dataset["per_expression"]
            == evaluate("mevis", benchmark_of.truth, str(output)).as_json()["per_expression"]
        )
        assert (by_dataset["J"] == 1) == (objects == "union")
    export(dataset, benchmark_of.manifest, "mevis", str(benchmark_of.folder / "default.zip"))
    assert (benchmark_of.folder / "default.zip").read_bytes() == (benchmark_of.folder / "first.zip").read_bytes()


def davis_manifest(folder):
    frames = FRAMES["v0aa"]
    expressions = {str(n): {"exp": f"object {n // 4 + 1} by {n % 4}", "obj_id": str(n // 4 + 1)} for n in range(8)}
    (folder / "meta.json").write_text(json.dumps({"videos": {"v0aa": {"frames": frames, "expressions": expressions}}}))
    return str(folder / "meta.json"), expressions


def test_ref_davis17_merges_objects_per_annotator(benchmark_of):
    manifest, expressions = davis_manifest(benchmark_of.folder)
    masks = draw("v0aa")
    rows = [mask_row("v0aa", key, entry["exp"], masks[int(key) // 4]) for key, entry in expressions.items()]
    dataset = write_dataset(benchmark_of.folder / "davis", [rows])
    output = benchmark_of.folder / "davis.zip"
    assert export(dataset, manifest, "ref-davis17", str(output)).written == 12
    assert names_in(output) == sorted(f"anno_{a}/v0aa/{frame}.png" for a in range(4) for frame in FRAMES["v0aa"])
    labels = np.where(masks[0], 1, np.where(masks[1], 2, 0))  # the lower object wins where they overlap
    for index, frame in enumerate(FRAMES["v0aa"]):
        image = picture(output, f"anno_3/v0aa/{frame}.png")
        assert (image.mode, image.size) == ("P", (36, 24))
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        assert np.array_equal(np.asarray(image), labels[index])
    assert check(str(output), manifest, "ref-davis17") == []


def test_ref_davis17_wants_four_expressions_per_object(benchmark_of):
    with pytest.raises(UsageError, match="four for every object"):
        export(benchmark_of.dataset, benchmark_of.manifest, "ref-davis17", str(benchmark_of.folder / "x.zip"))
    assert not (benchmark_of.folder / "x.zip").exists()


def failed_dataset(folder):
    rows = truth_rows("v0aa")
    rows[1] = mask_row("v0aa", "1", "both", np.zeros((3, 24, 36), bool), status="failed", error="VideoError: cut short")
    return write_dataset(folder / "failed", [rows])  # and v1bb is not there at all


def test_failed_and_missing_rows_block_the_export(benchmark_of):
    output = benchmark_of.folder / "blocked.zip"
    with pytest.raises(IncompleteDatasetError, match=r"2 of 5 expressions.*--allow-missing") as caught:
        export(failed_dataset(benchmark_of.folder), benchmark_of.manifest, "mevis", str(output))
    assert caught.value.missing == {
        ("v0aa", "1"): "failed: VideoError: cut short",
        ("v1bb", "0"): "not in the dataset",
    }
    assert not output.exists()


def test_allowed_missing_answers_become_empty_masks_if_their_size_is_known(benchmark_of):
    dataset, output = failed_dataset(benchmark_of.folder), benchmark_of.folder / "allowed.zip"
    result = export(dataset, benchmark_of.manifest, "mevis", str(output), allow_missing=True)
    assert list(result.missing) == [("v0aa", "1")]
    assert "its size is unknown" in result.left_out["v1bb", "0"]
    assert names_in(output) == [name for name in expected_names() if name.startswith("v0aa")]
    (benchmark_of.folder / "JPEGImages" / "v1bb").mkdir(parents=True)
    Image.new("RGB", (20, 30)).save(benchmark_of.folder / "JPEGImages" / "v1bb" / "00007.jpg")
    videos = str(benchmark_of.folder / "JPEGImages")
    result = export(dataset, benchmark_of.manifest, "mevis", str(output), allow_missing=True, videos=videos)
    assert set(result.missing) == {("v0aa", "1"), ("v1bb", "0")}
    assert names_in(output) == expected_names()
    assert picture(output, "v1bb/0/00008.png").size == (20, 30)
    assert not np.asarray(picture(output, "v0aa/1/00000.png")).any()
    assert np.asarray(picture(output, "v0aa/0/00000.png")).any()


def test_rows_of_another_sentence_or_with_too_few_frames_count_as_missing(benchmark_of):
    rows = truth_rows("v0aa")
    rows[0].expression = "something else"
    short = mask_row("v0aa", "10", "the other", draw("v0aa")[1][:2], frames=FRAMES["v0aa"][:2])
    dataset = write_dataset(benchmark_of.folder / "other", [[*rows[:3], short], truth_rows("v1bb")])
    with pytest.raises(IncompleteDatasetError) as caught:
        export(dataset, benchmark_of.manifest, "mevis", str(benchmark_of.folder / "x.zip"))
    assert "another sentence" in caught.value.missing["v0aa", "0"]
    assert "1 of 3 frames are missing" in caught.value.missing["v0aa", "10"]


def test_frames_follow_the_manifest_not_the_dataset(benchmark_of):
    rows = truth_rows("v0aa")
    for row in rows:  # a dataset of every frame, of which the benchmark wants some
        for name in ("masks", "areas", "bboxes", "scores"):
            values = getattr(row, name)
            setattr(row, name, [values[2], values[0], values[1], values[0]])
        row.frames = ["00010", "00000", "00005", "00011"]
    dataset = write_dataset(benchmark_of.folder / "more", [rows, truth_rows("v1bb")])
    output = benchmark_of.folder / "more.zip"
    export(dataset, benchmark_of.manifest, "mevis", str(output))
    assert names_in(output) == expected_names()
    assert evaluate("mevis", benchmark_of.truth, str(output)).as_json()["J&F"] == 1
    assert evaluate("mevis", benchmark_of.truth, dataset).as_json()["J&F"] == 1


@pytest.mark.parametrize("objects", ["all", "union"])
def test_youtube_vis_dataset_and_results(benchmark_of, objects):
    masks = draw("v0aa")
    rows = [row for row in truth_rows("v0aa") if row.expression_id != "1"]
    rows += [mask_row("v0aa", "1", "both", masks[number], object_id=number, score=0.25) for number in (0, 1)]
    dataset = write_dataset(benchmark_of.folder / "tracks", [rows, truth_rows("v1bb")])
    output = benchmark_of.folder / "vis"
    export(dataset, benchmark_of.manifest, "youtube-vis", str(output), objects=objects)
    content = json.loads((output / "dataset.json").read_text())
    results = json.loads((output / "results.json").read_text())
    assert {(video["id"], video["name"], video["length"]) for video in content["videos"]} == {
        (1, "v0aa", 3),
        (2, "v1bb", 2),
    }
    both = [a for a in content["annotations"] if a["video_id"] == 1 and a["expression_id"] == "1"]
    expected = [masks[0], masks[1]] if objects == "all" else [masks.any(axis=0)]
    assert len(both) == len(expected)
    for annotation, target in zip(both, expected, strict=True):
        assert np.array_equal(decode_masks(annotation["segmentations"], 24, 36), target)
        assert annotation["areas"] == [int(area) or None for area in target.sum(axis=(1, 2))]
        assert annotation["expression"] == "both"
    assert [result["segmentations"] for result in results] == [a["segmentations"] for a in content["annotations"]]
    assert not [a for a in content["annotations"] if a["expression_id"] == "2"]  # nothing found, no track
    for file in ("dataset.json", "results.json"):
        assert check(str(output / file), benchmark_of.manifest, "youtube-vis") == []
    export(dataset, benchmark_of.manifest, "youtube-vis", str(benchmark_of.folder / "one.json"))
    assert (benchmark_of.folder / "one.results.json").exists()


def test_coco_loads_with_pycocotools_and_holds_the_masks(benchmark_of):
    output = benchmark_of.folder / "coco.json"
    export(benchmark_of.dataset, benchmark_of.manifest, "coco", str(output))
    coco = COCO(str(output))
    assert len(coco.imgs) == 5
    (image,) = [image for image in coco.imgs.values() if image["file_name"] == "v0aa/00005.jpg"]
    annotations = coco.imgToAnns[image["id"]]
    assert {annotation["expression_id"] for annotation in annotations} == {"0", "1", "10"}
    one = next(annotation for annotation in annotations if annotation["expression_id"] == "0")
    assert np.array_equal(coco.annToMask(one), draw("v0aa")[0, 1])
    assert one["area"] == draw("v0aa")[0, 1].sum()
    assert check(str(output), benchmark_of.manifest, "coco") == []


@pytest.mark.parametrize("format_name", ["mevis", "ref-youtube-vos", "png", "revos"])
@pytest.mark.parametrize("part", ["video", "expression", "frame"])
@pytest.mark.parametrize("name", ["../evil", "/evil", "..", "a\0b", "a\\b", ""])
def test_hostile_names_are_refused_before_anything_is_written(tmp_path, format_name, part, name):
    names = {"video": "v", "expression": "0", "frame": "00000", part: name}
    row = {"video_id": names["video"], "video": "v", "expression_id": names["expression"], "expression": "a"}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({**row, "frames": [names["frame"]]}))
    (tmp_path / "dataset" / "masks").mkdir(parents=True)
    (tmp_path / "dataset" / "run.json").write_text("{}")
    with pytest.raises((IncompleteDatasetError, UsageError)):
        export(
            str(tmp_path / "dataset"), str(manifest), format_name, str(tmp_path / "deep" / "out"), allow_missing=True
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "manifest.jsonl"]


def test_an_export_that_breaks_leaves_nothing(benchmark_of, monkeypatch):
    rows = truth_rows("v0aa")
    rows[-1].masks[0] = {"size": [24, 36], "counts": "zzz"}
    dataset = write_dataset(benchmark_of.folder / "broken", [rows, truth_rows("v1bb")])
    (benchmark_of.folder / "out").mkdir()
    for name, output in (("mevis", "out/a.zip"), ("png", "out/b"), ("coco", "out/c.json"), ("youtube-vis", "out/d")):
        with pytest.raises(PipelineError, match=r"'v0aa'.*damaged mask"):
            export(dataset, benchmark_of.manifest, name, str(benchmark_of.folder / output))
    left = [path for path in (benchmark_of.folder / "out").rglob("*") if path.is_file()]
    assert left == []


def test_folders_are_not_mixed_and_zips_are_replaced(benchmark_of):
    folder, output = benchmark_of.folder / "pngs", benchmark_of.folder / "s.zip"
    export(benchmark_of.dataset, benchmark_of.manifest, "png", str(folder))
    with pytest.raises(UsageError, match="exists already"):
        export(benchmark_of.dataset, benchmark_of.manifest, "png", str(folder))
    output.write_bytes(b"old")
    export(benchmark_of.dataset, benchmark_of.manifest, "mevis", str(output))
    first = output.read_bytes()
    export(benchmark_of.dataset, benchmark_of.manifest, "mevis", str(output))
    assert output.read_bytes() == first  # the same export is the same file
    assert not list(benchmark_of.folder.glob(".tmp*"))


def test_excluded_videos_are_not_expected(benchmark_of):
    content = json.loads(Path(benchmark_of.manifest).read_text())
    del content["videos"]["v0aa"]
    (benchmark_of.folder / "test_meta.json").write_text(json.dumps(content))
    output = benchmark_of.folder / "rest.zip"
    exclude = str(benchmark_of.folder / "test_meta.json")
    export(benchmark_of.dataset, benchmark_of.manifest, "ref-youtube-vos", str(output), exclude_meta=exclude)
    assert {name.split("/")[1] for name in names_in(output)} == {"v0aa"}
    assert check(str(output), benchmark_of.manifest, "ref-youtube-vos", exclude_meta=exclude) == []


def test_memory_does_not_grow_with_the_dataset(tmp_path):
    rows, lines = [], []
    for number in range(20):
        video_id = f"video{number}"
        rows.append([mask_row(video_id, "0", "a", np.ones((2, 8, 8), bool), frames=["0", "1"])])
        lines.append(json.dumps({"video_id": video_id, "video": "x", "expression_id": "0", "expression": "a"}))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    dataset = write_dataset(tmp_path / "dataset", rows)
    answers = Answers(dataset, read_expected(str(tmp_path / "m.jsonl")), objects="first", allow_missing=False)
    references, alive = [], []
    for video in answers.videos():
        references.append(weakref.ref(video))
        alive.append(sum(reference() is not None for reference in references))
    assert len(alive) == 20
    assert max(alive) <= 2  # this one and the one before
