"""Benchmarks of 2026: the numbers that their own tools gave, and what a dataset of ours scores and exports there."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.dataset import DatasetWriter, areas_and_bboxes, decode_masks, encode_masks
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate
from pipeline.evaluation.vot_regions import Region, RegionError, from_binary, from_text, region_of, to_binary, to_text
from pipeline.export import check, export
from pipeline.manifest import read_manifest
from pipeline.manifest.votsr import prompt_hash
from pipeline.schema import MaskRow

CASES = Path(__file__).parent / "format_cases"


def case(name):
    return json.loads((CASES / f"{name}.json").read_text())


def drawn(boxes, size=(24, 32)):
    """The union of [x, y, w, h] rectangles."""
    mask = np.zeros(size, bool)
    for x, y, width, height in boxes:
        mask[y : y + height, x : x + width] = True
    return mask


def row(video, expression_id, text, masks, frames, **changes):
    rles = encode_masks(np.stack(masks))
    areas, bboxes = areas_and_bboxes(rles)
    values = {"status": "ok", "height": masks[0].shape[0], "width": masks[0].shape[1], "score": 0.6, **changes}
    per_frame = {"masks": rles, "areas": areas, "bboxes": bboxes, "scores": [1.0] * len(frames)}
    return MaskRow(
        video_id=video, expression_id=expression_id, expression=text, frames=list(frames), **per_frame, **values
    )


def write(folder, *rows_of_videos):
    (folder / "masks").mkdir(parents=True)
    for rows in rows_of_videos:
        DatasetWriter(str(folder)).commit(rows)
    return str(folder)


# VOTSr


def votsr_case(folder, name):
    """The case's dataset and results as files; the sequences' pictures are counted only."""
    content = case(f"votsr_{name}")
    for sequence in content["sequences"]:
        for path, text in sequence["files"].items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        colour = folder / "sequences" / sequence["name"] / "color"
        colour.mkdir(parents=True)
        for number in range(1, sequence["length"] + 1):
            Image.new("RGB", sequence["size"][::-1]).save(colour / f"{number:08d}.jpg")
    names = [sequence["name"] for sequence in content["sequences"]]
    (folder / "sequences" / "list.txt").write_text("\n".join(names) + "\n")
    return content


@pytest.mark.parametrize("name", ["two_prompts", "ignore", "faulty", "one_column"])
def test_votsr_scores_as_the_toolkit(tmp_path, name):
    content = votsr_case(tmp_path, name)
    result = evaluate("votsr", str(tmp_path / "sequences"), str(tmp_path / "results" / "ours")).as_json()
    assert result["IoU"] == pytest.approx(content["scores"]["length_weighted"][0], abs=1e-9)
    assert result["IoU, plain mean"] == pytest.approx(content["scores"]["unweighted"][0], abs=1e-9)
    assert result["n_missing"] == (1 if name == "faulty" else 0)
    if name == "faulty":
        assert result["missing"][0]["expression_id"] == "41529076"
        assert result["results"]["the same, missing prompts count 0"]["IoU"] == pytest.approx(1 / 6)


def test_votsr_binary_results_keep_masks_of_one_column(tmp_path):
    content = votsr_case(tmp_path, "one_column")
    (text,) = (tmp_path / "results").rglob("*.txt")
    lines = [line[1:].split(",") for line in text.read_text().splitlines()]
    regions = []
    for x, y, width, height, *runs in (map(int, line) for line in lines):
        flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        regions.append(Region(x=x, y=y, mask=flat.reshape(height, width)))
    text.with_suffix(".bin").write_bytes(to_binary(regions))
    text.unlink()
    result = evaluate("votsr", str(tmp_path), str(tmp_path / "results" / "ours")).as_json()
    assert result["IoU"] == pytest.approx(content["scores_if_results_are_bin"][0], abs=1e-9)


def test_votsr_binary_form_is_the_toolkits():
    content = case("votsr_binary")
    masks = [drawn([[5, 2, 1, 10]]), None, None, drawn([[5, 2, 1, 10]])]
    regions = [region_of(mask) for mask in masks]
    box = np.zeros((10, 2), bool)
    box[:, 1] = True
    regions[2] = Region(x=4, y=2, mask=box)
    assert to_binary(regions).hex() == content["bin_hex"]
    assert to_text(regions).decode().split() == content["text_lines"]


@pytest.mark.parametrize(
    "mask",
    [
        np.ones((5, 7), bool),
        np.zeros((5, 7), bool),
        drawn([[0, 0, 1, 1]], (5, 7)),
        drawn([[6, 4, 1, 1]], (5, 7)),
        drawn([[3, 0, 1, 5]], (5, 7)),
        drawn([[0, 2, 7, 1]], (5, 7)),
        drawn([[0, 0, 7, 1], [0, 4, 7, 1], [0, 0, 1, 5], [6, 0, 1, 5]], (5, 7)),
        drawn([[1, 1, 2, 1], [4, 3, 2, 2]], (5, 7)),
        np.ones((300, 300), bool),  # one run of more than 65,025 pixels
    ],
)
def test_votsr_regions_survive_a_round_trip(mask):
    for is_text, (written,) in (
        (False, from_binary(to_binary([region_of(mask)]))),
        (True, from_text(to_text([region_of(mask)]))),
    ):
        canvas = written.canvas()
        back = np.zeros_like(mask)
        back[: canvas.shape[0], : canvas.shape[1]] = canvas
        is_lost = is_text and mask.any(axis=0).sum() == 1
        assert np.array_equal(back, np.zeros_like(mask) if is_lost else mask)


def test_votsr_damaged_files_are_refused():
    whole = to_binary([region_of(np.eye(4, dtype=bool))])
    for length in range(6, len(whole)):
        with pytest.raises(RegionError):
            from_binary(whole[:length])
    for line in (b"m1,2", b"m0,0,2,2,9", b"m0,0,-2,2,4", b"mx"):
        with pytest.raises(RegionError):
            from_text(line)


def test_votsr_in_and_out(tmp_path):
    votsr_case(tmp_path, "two_prompts")
    sequences = str(tmp_path / "sequences")
    (task,) = read_manifest(sequences)
    assert [item.expression_id for item in task.expressions] == ["fae7afd6", "3957f732"]
    assert prompt_hash("boat that turns left") == "3957f732"
    assert task.frames == tuple(f"{number:08d}" for number in range(1, 5))
    truth = [drawn([[4, 4, 10, 8]]), drawn([]), drawn([]), drawn([[6, 6, 10, 8], [20, 2, 3, 3]])]
    halves = [mask & (np.arange(32) < 12) for mask in truth], [mask & (np.arange(32) >= 12) for mask in truth]
    rows = [
        row("boat", item.expression_id, item.text, half, task.frames, object_id=number)
        for item in task.expressions
        for number, half in enumerate(halves)
    ]
    dataset = write(tmp_path / "out", rows)
    assert evaluate("votsr", sequences, dataset).as_json()["IoU"] == 1.0  # objects are united
    output = tmp_path / "ours.zip"
    assert export(dataset, sequences, "votsr", str(output), tracker="mine").written == 2
    with zipfile.ZipFile(output) as archive:
        assert sorted(archive.namelist()) == sorted(
            ["baseline/boat/boat_3957f732.bin", "baseline/boat/boat_fae7afd6.bin", "manifest.yml"]
        )
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        manifest = yaml.safe_load(archive.read("manifest.yml"))
        assert sorted(manifest) == case("votsr_pack")["manifest_keys"]
        assert manifest["identifier"] == "mine"
        assert len(from_binary(archive.read("baseline/boat/boat_fae7afd6.bin"))) == 4
    assert check(str(output), sequences, "votsr") == []
    assert evaluate("votsr", sequences, str(output)).as_json()["IoU"] == 1.0
    export(dataset, sequences, "votsr", str(tmp_path / "text"), text_masks=True)
    assert (tmp_path / "text/baseline/boat/boat_fae7afd6.txt").read_text().splitlines()[1] == "m0,0,0,0,0"
    (tmp_path / "text/baseline/boat/boat_3957f732.txt").write_text("m0,0,0,0,0\n0\nm5,2,1,10,0,10\n")
    faults = check(str(tmp_path / "text"), sequences, "votsr")
    assert len(faults) == 3  # too few, no mask, one column


# Long-RVOS


def long_rvos_case(folder):
    content = case("long_rvos")["boxes"]["videos"]
    videos = {v: {"frames": c["frames"], "expressions": c["expressions"]} for v, c in content.items()}
    (folder / "truth").mkdir(parents=True)
    (folder / "truth" / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    for video, entry in content.items():
        for kind, root in (("annotations", "truth/Annotations"), ("predictions", "pred")):
            for key, frames in entry[kind].items():
                for frame, boxes in frames.items():
                    path = folder / root / video / key / f"{frame}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(drawn(boxes).astype(np.uint8) * 255).save(path)
    return content


def test_long_rvos_scores_as_its_own_scorer(tmp_path):
    long_rvos_case(tmp_path)
    result = evaluate("long-rvos", str(tmp_path / "truth"), str(tmp_path / "pred")).as_json()
    expected = case("long_rvos")
    for name, value in expected["overall"].items():
        assert result[name] == pytest.approx(value, abs=1e-9)
    for key, values in expected["per_expression_J_F_tIoU_vIoU"].items():
        found = [result["per_expression"][key][name] for name in ("J", "F", "tIoU", "vIoU")]
        assert found == pytest.approx(values, abs=1e-9)
    assert result["results"]["dynamic"]["tIoU"] == pytest.approx(0.75)
    (tmp_path / "pred/0a1b2c3d/1/00000.png").unlink()
    result = evaluate("long-rvos", str(tmp_path / "truth"), str(tmp_path / "pred")).as_json()
    assert [entry["expression_id"] for entry in result["missing"]] == ["1"]


def test_long_rvos_from_a_dataset(tmp_path):
    content = long_rvos_case(tmp_path)["0a1b2c3d"]
    rows = []
    for key, expression in content["expressions"].items():
        boxes = content["annotations"][str(expression["obj_id"])]
        masks = [drawn(boxes.get(frame, [])) for frame in content["frames"]]
        rows.append(row("0a1b2c3d", key, expression["exp"], masks, content["frames"]))
    dataset, manifest = write(tmp_path / "out", rows), str(tmp_path / "truth" / "meta_expressions.json")
    export(dataset, manifest, "long-rvos", str(tmp_path / "s.zip"))
    assert check(str(tmp_path / "s.zip"), manifest, "long-rvos") == []
    for predictions in (dataset, str(tmp_path / "s.zip")):
        result = evaluate("long-rvos", str(tmp_path / "truth"), predictions).as_json()
        assert [result[name] for name in ("J", "F", "tIoU", "vIoU")] == [1, 1, 1, 1]


# SA-Co/VEval


def saco_case(folder):
    content = case("saco_veval")
    (folder / "saco_veval_sav_val.json").write_text(json.dumps(content["gt"]))
    (folder / "preds.json").write_text(json.dumps(content["pred"]))
    return content["gt"], content["pred"], content["results"]["dataset_results"]


def test_saco_veval_scores_as_its_own_scorer(tmp_path):
    _, pred, expected = saco_case(tmp_path)
    for predictions in ("preds.json", "lists.json"):
        result = evaluate("saco-veval", str(tmp_path), str(tmp_path / predictions)).as_json()
        assert result["cgF1"] == pytest.approx(expected["video_mask_demo_cgf1_micro_50_95"], abs=1e-6)
        assert result["IL MCC"] == pytest.approx(expected["video_mask_demo_ilmcc_50_95"], abs=1e-6)
        assert result["positive micro F1"] == pytest.approx(
            expected["video_mask_demo_positive_micro_f1_50_95"], abs=1e-6
        )
        for threshold in ("50", "75"):
            line = result["results"][f"IoU 0.{threshold}"]
            assert line["cgF1"] == pytest.approx(expected[f"video_mask_demo_cgf1_micro_{threshold}"], abs=1e-6)
        as_lists = json.loads(json.dumps(pred))
        for entry in as_lists:
            entry["segmentations"] = [rle and uncompressed(rle) for rle in entry["segmentations"]]
        (tmp_path / "lists.json").write_text(json.dumps(as_lists))
    (tmp_path / "none.json").write_text("[]")
    assert evaluate("saco-veval", str(tmp_path), str(tmp_path / "none.json")).as_json()["cgF1"] == 0


def uncompressed(rle):
    from pipeline.masks import run_lengths

    return {"size": rle["size"], "counts": run_lengths(rle)}


def test_saco_veval_in_and_out(tmp_path):
    truth, pred, _ = saco_case(tmp_path)
    manifest = str(tmp_path / "saco_veval_sav_val.json")
    tasks = {task.video_id: task for task in read_manifest(manifest, videos=str(tmp_path))}
    assert [item.text for item in tasks["pond"].expressions] == ["a duck", "a red boat", "a bicycle"]
    names = {video["id"]: video["video_name"] for video in truth["videos"]}
    rows = {name: [] for name in names.values()}
    for entry in truth["annotations"]:
        task = tasks[names[entry["video_id"]]]
        masks = decode_masks(entry["segmentations"], 24, 32)
        number = len([r for r in rows[task.video_id] if r.expression_id == str(entry["category_id"])])
        rows[task.video_id].append(
            row(
                task.video_id,
                str(entry["category_id"]),
                entry["noun_phrase"],
                list(masks),
                task.frames,
                object_id=number,
                score=0.1,
            )
        )
    for task in tasks.values():
        held = {r.expression_id for r in rows[task.video_id]}
        empty = [np.zeros((24, 32), bool)] * len(task.frames)
        for item in task.expressions:
            if item.expression_id not in held:
                rows[task.video_id].append(
                    row(task.video_id, item.expression_id, item.text, empty, task.frames, status="no_object")
                )
    dataset = write(tmp_path / "out", *rows.values())
    output = tmp_path / "preds_of_ours.json"
    assert export(dataset, manifest, "saco-veval", str(output)).written == 3
    assert all(0.5 < entry["score"] <= 1 for entry in json.loads(output.read_text()))
    assert check(str(output), manifest, "saco-veval") == []
    for predictions in (dataset, str(output)):
        result = evaluate("saco-veval", manifest, predictions).as_json()
        assert result["cgF1"] == pytest.approx(0.9999, abs=2e-4)
    faulty = [{**pred[0], "category_id": 99}, {**pred[0], "areas": [1]}, {**pred[0], "video_id": 7}]
    (tmp_path / "faulty.json").write_text(json.dumps(faulty))
    assert len(check(str(tmp_path / "faulty.json"), manifest, "saco-veval")) == 3
    with pytest.raises(UsageError, match="not asked"):
        evaluate("saco-veval", manifest, str(tmp_path / "faulty.json"))


# Ref-SAV


def test_ref_sav_is_the_mean_of_long_and_short(tmp_path):
    masks = np.zeros((2, 24, 32), bool)
    masks[:, 2:10, 3:9] = True
    (tmp_path / "truth").mkdir()
    expressions = {
        str(i): {"exp": f"e{i}", "obj_id": [0], "anno_id": [0], "type_id": kind} for i, kind in enumerate([0, 1, 1])
    }
    videos = {"v": {"frames": ["00000", "00001"], "expressions": expressions, "height": 24, "width": 32}}
    (tmp_path / "truth" / "meta_expressions_valid.json").write_text(json.dumps({"videos": videos}))
    (tmp_path / "truth" / "mask_dict.json").write_text(json.dumps({"0": encode_masks(masks)}))
    rows = [
        row("v", str(i), f"e{i}", list(masks) if i < 2 else [~m for m in masks], ["00000", "00001"]) for i in range(3)
    ]
    result = evaluate("ref-sav", str(tmp_path / "truth"), write(tmp_path / "out", rows)).as_json()
    assert (result["results"]["long"]["J"], result["results"]["short"]["J"], result["J"]) == (1, 0.5, 0.75)
    assert result["A"] == 0.75
    assert "R" not in result
