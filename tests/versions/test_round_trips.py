"""Out to a tool and back: three tracks changed as the tool would write them, and `diff` names exactly these."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset import MaskDataset, decode_mask, encode_masks
from pipeline.errors import UsageError
from pipeline.export import export
from pipeline.export.brush import brush_mask, brush_runs
from pipeline.export.fiftyone_masks import detection_mask, picture_mask
from pipeline.export.formats.cvat import row_runs
from pipeline.versions import diff, make_version
from pipeline.versions.annotations import edits_of
from pipeline.versions.readers import READERS
from tests.dataset.conftest import build_row
from tests.versions.test_edits import write_dataset

VIDEOS = ("v0", "v1", "v2")
MOVED, RENAMED, REMOVED = ("v0", "1", 0), ("v1", "0", 0), ("v2", "2", 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("round trip")
    url = write_dataset(folder / "out")
    rows = []
    for video_id in VIDEOS:
        for expression_id in ("0", "1", "2"):
            text = build_row(video_id, expression_id).expression
            rows.append({"video_id": video_id, "video": f"{video_id}.mp4", "expression_id": expression_id,
                         "expression": text})  # fmt: skip
    manifest = folder / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    return url, str(manifest)


def moved(rle: dict) -> np.ndarray:
    return np.roll(decode_mask(rle), 2, axis=1)


def change_cvat(folder: Path, masks: dict) -> None:
    tree = ET.parse(folder / "annotations.xml")
    for image in tree.iter("image"):
        video_id, frame = image.get("name").removesuffix(".jpg").split("/")
        for mask in list(image.findall("mask")):
            values = {item.get("name"): item for item in mask.findall("attribute")}
            key = (video_id, values["expression_id"].text, int(values["object_id"].text))
            if key == REMOVED:
                image.remove(mask)
            elif key == RENAMED:
                values["expression"].text = "another <thing>"
            elif key == MOVED:  # CVAT writes the whole picture as the box where a mask was redrawn
                whole = moved(masks[key][frame])
                runs = ", ".join(map(str, row_runs(whole)))
                for name, value in {"left": 0, "top": 0, "width": 17, "height": 12, "rle": runs}.items():
                    mask.set(name, str(value))
    tree.write(folder / "annotations.xml")


def change_label_studio(folder: Path, masks: dict) -> None:
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        data, regions = task["data"], task["predictions"][0]["result"]
        for region in list(regions):
            object_id = int(region["value"]["brushlabels"][0].split()[1])
            key = (data["video_id"], data["expression_id"], object_id)
            if key in (REMOVED, RENAMED):
                regions.remove(region)
            elif key == MOVED:
                region["value"]["rle"] = brush_runs(moved(masks[key][data["frame"]]))
        cancelled = {"id": 2, "was_cancelled": True, "updated_at": "2026-02-02", "result": []}
        task["annotations"] = [
            {"id": 1, "was_cancelled": False, "updated_at": "2026-01-01", "result": regions},
            cancelled,
        ]
    (folder / "tasks.json").write_text(json.dumps(tasks))


def change_coco(folder: Path, masks: dict) -> None:
    content = json.loads((folder / "annotations.json").read_text())
    frames = {image["id"]: image["frame"] for image in content["images"]}
    for record in list(content["annotations"]):
        key = (record["video_id"], record["expression_id"], record["object_id"])
        if key == REMOVED:
            content["annotations"].remove(record)
        elif key == RENAMED:
            record["expression"] = "another <thing>"
        elif key == MOVED:
            record["segmentation"] = encode_masks(moved(masks[key][frames[record["image_id"]]])[None])[0]
    (folder / "annotations.json").write_text(json.dumps(content))


def change_youtube_vis(folder: Path, masks: dict) -> None:
    content = json.loads((folder / "dataset.json").read_text())
    names = {video["id"]: video["name"] for video in content["videos"]}
    for record in list(content["annotations"]):
        key = (names[record["video_id"]], record["expression_id"], record["object_id"])
        if key == REMOVED:
            content["annotations"].remove(record)
        elif key == RENAMED:
            record["expression"] = "another <thing>"
        elif key == MOVED:
            old = record["segmentations"]
            record["segmentations"] = [None if rle is None else encode_masks(moved(rle)[None])[0] for rle in old]
    (folder / "dataset.json").write_text(json.dumps(content))


def change_fiftyone(folder: Path, masks: dict) -> None:
    content = json.loads((folder / "samples.json").read_text())
    for sample in content["samples"]:
        sample |= {"_id": {"$oid": "6b067210aad2ef7a8a6e059a"}, "_media_type": "image"}
        detections = sample["objects"]["detections"]
        for item in list(detections):
            key = (sample["video_id"], item["expression_id"], item["object_id"])
            if key == REMOVED:
                detections.remove(item)
            elif key == RENAMED:
                item["label"] = "another <thing>"
            elif key == MOVED:
                item |= detection_mask(moved(masks[key][sample["frame"]]))
    (folder / "samples.json").write_text(json.dumps(content))


def change_png(folder: Path, masks: dict) -> None:
    for file in folder.rglob("*.png"):
        video_id, expression_id, group, _ = file.relative_to(folder).parts
        key = (video_id, expression_id, int(group.removeprefix("object_")))
        if key in (REMOVED, RENAMED):
            Image.new("L", (17, 12)).save(file)
        elif key == MOVED and (rle := masks[key][file.stem]) is not None:  # a program may save colours
            picture = Image.fromarray(moved(rle).astype(np.uint8) * 200)
            picture.convert("RGB").save(file)
    next(folder.rglob("*.png")).unlink()  # what is not there says nothing


CHANGES: dict[str, Callable[[Path, dict], None]] = {
    "cvat": change_cvat,
    "label-studio": change_label_studio,
    "fiftyone": change_fiftyone,
    "coco": change_coco,
    "youtube-vis": change_youtube_vis,
    "png": change_png,
}


@pytest.mark.parametrize("tool", CHANGES)
def test_three_changed_tracks_come_back(dataset: tuple[str, str], tmp_path: Path, tool: str) -> None:
    url, manifest = dataset
    folder = tmp_path / "tool"
    export(url, manifest, tool, str(folder), objects="all")
    if tool != "label-studio":  # there, what nobody annotated says nothing
        assert edits_of(url, READERS[tool].read(str(folder)), tool=tool).edits == []
    rows = {(r.row.video_id, r.row.expression_id, r.row.object_id): r.row for r in MaskDataset(url)}
    masks = {key: dict(zip(row.frames, row.masks, strict=True)) for key, row in rows.items()}
    CHANGES[tool](folder, masks)
    edits = edits_of(url, READERS[tool].read(str(folder)), tool=tool)
    make_version(url, edits, str(tmp_path / "new"), tool=tool)
    found = diff(url, str(tmp_path / "new"))
    renames = tool not in ("label-studio", "png")  # they show the expression, and cannot change it
    assert found.dropped == ([REMOVED] if renames else [RENAMED, REMOVED])
    assert found.renamed == ([(RENAMED, "the thing 0", "another <thing>")] if renames else [])
    assert [item.row for item in found.changed] == [MOVED]
    assert found.added == []
    new = {(r.row.video_id, r.row.expression_id, r.row.object_id): r.row for r in MaskDataset(str(tmp_path / "new"))}
    for name, rle in zip(rows[MOVED].frames, new[MOVED].masks, strict=True):
        before = masks[MOVED][name]
        assert (rle is None) == (before is None)
        assert rle is None or (decode_mask(rle) == moved(before)).all()
    assert new[MOVED].source == tool
    assert found.same == len(rows) - 3


def test_a_file_of_a_part_of_the_tracks(dataset: tuple[str, str], tmp_path: Path) -> None:
    url, manifest = dataset
    few = tmp_path / "few.jsonl"
    few.write_text(Path(manifest).read_text().splitlines()[0])
    export(url, str(few), "cvat", str(tmp_path / "x.xml"))
    read = READERS["cvat"].read(str(tmp_path / "x.xml"))
    assert len(edits_of(url, read, tool="cvat").edits) == 3
    assert edits_of(url, read, tool="cvat", keep_missing=True).edits == []


def test_a_mask_drawn_anew_in_cvat(dataset: tuple[str, str], tmp_path: Path) -> None:
    url, manifest = dataset
    export(url, manifest, "cvat", str(tmp_path / "x.xml"))
    tree = ET.parse(tmp_path / "x.xml")
    image = next(image for image in tree.iter("image") if image.get("name") == "v1/00001.jpg")
    box = {"rle": "0, 6", "left": "3", "top": "5", "width": "3", "height": "2"}
    for attributes in ({"expression": "a bird"}, {"expression_id": "0", "expression": "the thing 0"}):
        mask = ET.SubElement(image, "mask", {"label": "object", **box, "group_id": "0"})
        for name, value in attributes.items():
            ET.SubElement(mask, "attribute", {"name": name}).text = value
    tree.write(tmp_path / "x.xml")
    make_version(url, edits_of(url, READERS["cvat"].read(str(tmp_path / "x.xml")), tool="cvat"), str(tmp_path / "new"))
    found = diff(url, str(tmp_path / "new"))
    assert found.added == [("v1", "0", 1), ("v1", "a bird (0)", 0)]
    assert not (found.changed)
    assert not (found.dropped)
    assert not (found.renamed)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotations><track id='0'/></annotations>", "has tracks"),
        ("<annotations/>", "has no images"),
        ("<annotations><image name='a.jpg' width='1' height='1'/></annotations>", "must be called VIDEO/FRAME"),
        ("<annotations><image name='v1/0.jpg' width='2' height='1'><polygon/></image></annotations>", "has a polygon"),
        ("<annotations><image name='v9/00000.jpg' width='2' height='1'/></annotations>", "no video 'v9'"),
        ("<annotations><image name='v1/9.jpg' width='2' height='1'/></annotations>", "has no frame '9'"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "document type"),
        (
            (
                "<annotations><image name='v1/00000.jpg' width='2' height='1'><mask rle='9' left='0' top='0' width='1' "
                "height='1'><attribute name='expression_id'>0</attribute></mask></image></annotations>"
            ),
            "runs do not fill its box",
        ),
        ("<annotations>", "not readable as XML"),
    ],
    ids=lambda value: value[:20],
)
def test_files_that_are_not_cvats(dataset: tuple[str, str], tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(UsageError, match=says):
        edits_of(dataset[0], READERS["cvat"].read(str(tmp_path / "x.xml")), tool="cvat")


@pytest.mark.parametrize("shape", [(1, 1), (24, 32), (5, 7), (1, 40000)], ids=str)
def test_brush_streams_decode_to_the_same_mask(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for mask in (np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) > 0.5):
        assert (brush_mask(brush_runs(mask), *shape) == mask).all()
    with pytest.raises(ValueError, match="values"):
        brush_mask(brush_runs(np.ones(shape, bool)), shape[0] + 1, shape[1])


@pytest.mark.parametrize("shape", [(1, 1), (24, 32), (5, 7), (1080, 1)], ids=str)
def test_masks_in_boxes_decode_to_the_same_mask(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    hole = np.ones(shape, bool)
    hole[shape[0] // 2, shape[1] // 2] = shape == (1, 1)
    for mask in (np.ones(shape, bool), hole, rng.random(shape) > 0.5, np.eye(*shape, dtype=bool)):
        if mask.any():
            assert (picture_mask(*detection_mask(mask).values(), *shape) == mask).all()


def test_a_detection_that_fiftyone_stretches_onto_its_box() -> None:
    mask = detection_mask(np.array([[0, 0, 1], [1, 1, 0]], bool))["mask"]
    stretched = picture_mask([0.0, 0.0, 0.5, 0.5], mask, 8, 12)
    expected = np.zeros((8, 12), bool)
    expected[:4, :6] = np.kron([[0, 0, 1], [1, 1, 0]], np.ones((2, 2)))
    assert (stretched == expected).all()


def test_detections_drawn_anew_in_fiftyone(dataset: tuple[str, str], tmp_path: Path) -> None:
    url, manifest = dataset
    export(url, manifest, "fiftyone", str(tmp_path / "x"))
    file = tmp_path / "x" / "samples.json"
    content = json.loads(file.read_text())
    mask = np.zeros((12, 17), bool)
    mask[3:5, 2:6] = True
    for sample in content["samples"]:
        if sample["video_id"] == "v1" and sample["frame"] in ("00001", "00002"):
            drawn = {"_cls": "Detection", "label": "a bird", **detection_mask(mask)}
            sample["objects"]["detections"].append(drawn)
    file.write_text(json.dumps(content))
    make_version(url, edits_of(url, READERS["fiftyone"].read(str(file)), tool="fiftyone"), str(tmp_path / "new"))
    found = diff(url, str(tmp_path / "new"))
    assert (found.added, found.changed, found.dropped) == ([("v1", "a bird (0)", 0)], [], [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda sample: sample.pop("video_id"), "has no video_id"),
        (lambda sample: sample.pop("objects"), "has no field 'objects'"),
        (lambda sample: sample.update(metadata=None), "do not say the size"),
        (lambda sample: sample["objects"]["detections"][0].update(mask=None), "not with paths"),
        (lambda sample: sample["objects"]["detections"][0].update(bounding_box=[0.5, 0, 0.6, 1]), "leaves the picture"),
        (lambda sample: sample["objects"]["detections"][0]["mask"]["$binary"].update(base64="eJw="), "does not unpack"),
        (lambda sample: sample["objects"]["detections"][0].update(object_id="0"), "object_id is '0'"),
        (lambda sample: sample["objects"]["detections"][0].update(label="other"), "two expressions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_are_not_fiftyones(dataset: tuple[str, str], tmp_path: Path, change: Callable, says: str) -> None:
    export(*dataset, "fiftyone", str(tmp_path / "x"))
    file = tmp_path / "x" / "samples.json"
    content = json.loads(file.read_text())
    shown = [sample for sample in content["samples"] if sample["objects"]["detections"]]
    change(shown[0])
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=says):
        READERS["fiftyone"].read(str(file))


def pictures(dataset: tuple[str, str], folder: Path, **options: object) -> Path:
    export(*dataset, "png", str(folder), **options)
    return folder


@pytest.mark.parametrize("objects", ["first", "union"])
def test_pictures_of_whole_expressions(dataset: tuple[str, str], tmp_path: Path, objects: str) -> None:
    url, _ = dataset
    folder = pictures(dataset, tmp_path / "png", objects=objects)
    (folder / ".DS_Store").write_bytes(b"")
    assert edits_of(url, READERS["png"].read(str(folder)), tool="png").edits == []
    for file in (folder / "v1" / "0").iterdir():
        Image.new("1", (17, 12)).save(file)
    whole = folder / "v0" / "1" / "00001.png"
    picture = Image.new("P", (17, 12), 1)
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(whole)
    shutil.make_archive(str(tmp_path / "edited"), "zip", folder)
    edits = edits_of(url, READERS["png"].read(str(tmp_path / "edited.zip")), tool="png")
    make_version(url, edits, str(tmp_path / "new"), tool="png")
    found = diff(url, str(tmp_path / "new"))
    assert [(item.row, item.status[1]) for item in found.changed] == [
        (("v0", "1", 0), "ok"), (("v1", "0", 0), "no_object"),
    ]  # fmt: skip
    new = {(r.row.video_id, r.row.expression_id): r.row for r in MaskDataset(str(tmp_path / "new"))}
    assert decode_mask(new["v0", "1"].masks[1]).all()
    Image.new("L", (17, 12), 255).save(folder / "v0" / "2" / "00001.png")  # of two objects
    with pytest.raises(UsageError, match=r"expression '2' has 2 objects.*--objects all"):
        edits_of(url, READERS["png"].read(str(folder)), tool="png")


def _smooth(file: Path) -> None:
    Image.linear_gradient("L").resize((17, 12)).save(file)


def _transparent(file: Path) -> None:
    Image.new("RGBA", (17, 12), (0, 0, 0, 0)).save(file)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_smooth, "several values beside black"),
        (_transparent, "transparent in places"),
        (lambda file: file.write_bytes(b"x"), "not a picture"),
        (lambda file: file.rename(file.with_suffix(".jpg")), "is no PNG file"),
        (lambda file: file.rename(file.with_name("9.png")), "no frame '9'"),
        (lambda file: file.rename(file.parent.parent / "9.png"), "must be called VIDEO/EXPRESSION"),
        (lambda file: shutil.copytree(file.parent, file.parent.parent / "x"), "expression 'x' is not in the dataset"),
        (lambda file: Image.new("L", (12, 17), 255).save(file), r"size \[17, 12\]"),
    ],
    ids=["smooth", "transparent", "broken", "jpeg", "frame", "place", "expression", "size"],
)
def test_pictures_that_are_not_of_the_dataset(
    dataset: tuple[str, str], tmp_path: Path, change: Callable, says: str
) -> None:
    folder = pictures(dataset, tmp_path / "png")
    change(folder / "v0" / "1" / "00001.png")
    with pytest.raises(UsageError, match=says):
        make_version(
            dataset[0], edits_of(dataset[0], READERS["png"].read(str(folder)), tool="png"), str(tmp_path / "new")
        )
