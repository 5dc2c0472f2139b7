"""Datasets on their way to training: Sa2VA's fine-tuning files, WebDataset shards, and frames beside masks."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from small_benchmark import EXPRESSIONS, FRAMES, SIZES, truth_rows, write_benchmark, write_dataset

from pipeline.dataset import MaskDataset, decode_mask
from pipeline.errors import UsageError, VideoError
from pipeline.export import export


def colour_of(video_id: str, index: int) -> tuple[int, int, int]:
    return (40 * index, 100, 200 if video_id == "v1bb" else 20)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A dataset with its pictures, each of a colour of its own."""
    folder = tmp_path_factory.mktemp("training")
    truth = write_benchmark(folder / "truth")
    for video_id, frames in FRAMES.items():
        height, width = SIZES[video_id]
        pictures = truth / "JPEGImages" / video_id
        pictures.mkdir(parents=True)
        for index, name in enumerate(frames):
            Image.new("RGB", (width, height), colour_of(video_id, index)).save(pictures / f"{name}.png")
    dataset = write_dataset(folder / "dataset", [truth_rows(video_id) for video_id in EXPRESSIONS])
    return SimpleNamespace(dataset=dataset, manifest=str(truth / "meta_expressions.json"))


def shows(picture: Image.Image, video_id: str, frame: str) -> bool:
    height, width = SIZES[video_id]
    expected = colour_of(video_id, FRAMES[video_id].index(frame))
    return picture.size == (width, height) and np.abs(np.asarray(picture) - np.array(expected)).max() <= 4


def test_fine_tuning_pairs_are_exact_and_never_empty(source: SimpleNamespace, tmp_path: Path) -> None:
    result = export(source.dataset, source.manifest, "sa2va-finetune", str(tmp_path / "data"))
    records = json.loads((tmp_path / "data" / "annotations.json").read_text())
    union: dict[tuple[str, str, str], np.ndarray] = {}
    for record in MaskDataset(source.dataset):
        row = record.row
        for name, rle in zip(row.frames, row.masks, strict=True):
            if rle is not None:
                key = (row.video_id, name, row.expression)
                union[key] = decode_mask(rle) | union.get(key, False)
    found = 0
    for record in records:
        video_id, frame = record["image"].removesuffix(".jpg").split("/")
        with Image.open(tmp_path / "data" / "images" / record["image"]) as picture:
            assert shows(picture, video_id, frame)
            width, height = picture.size
        assert len(record["mask"]) == len(record["text"]) > 0
        for mask, text in zip(record["mask"], record["text"], strict=True):
            decoded = coco.decode(coco.frPyObjects([mask], height, width)).sum(-1)  # as the loader does
            assert (decoded == union[video_id, frame, text]).all()
            found += 1
    assert found == result.written == len(union)


def test_a_webdataset_holds_frames_in_order_with_all_masks(source: SimpleNamespace, tmp_path: Path) -> None:
    result = export(source.dataset, source.manifest, "webdataset", str(tmp_path / "shards"))
    (shard,) = (tmp_path / "shards").iterdir()
    with tarfile.open(shard) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    keys = list(dict.fromkeys(name.partition(".")[0] for name in members))
    assert list(members) == [f"{key}.{kind}" for key in keys for kind in ("jpg", "json")]
    assert len(keys) == result.written == sum(map(len, FRAMES.values()))
    rows = {(r.row.video_id, r.row.expression_id, r.row.object_id): r.row for r in MaskDataset(source.dataset)}
    for key in keys:
        content = json.loads(members[f"{key}.json"])
        assert key == f"{content['video_id']}/{content['frame']}"
        assert shows(Image.open(io.BytesIO(members[f"{key}.jpg"])), content["video_id"], content["frame"])
        for item in content["objects"]:
            row = rows[content["video_id"], item["expression_id"], item["object_id"]]
            assert item["mask"] == row.masks[row.frames.index(content["frame"])]
    export(source.dataset, source.manifest, "webdataset", str(tmp_path / "again"))
    assert (tmp_path / "again" / shard.name).read_bytes() == shard.read_bytes()
    with pytest.raises(UsageError, match="--with-frames is not for webdataset"):
        export(source.dataset, source.manifest, "webdataset", str(tmp_path / "x"), with_frames=True)


def test_a_data_loader_gets_frames_beside_masks(source: SimpleNamespace) -> None:
    from torch.utils.data import DataLoader

    dataset = MaskDataset(source.dataset, filters=[("status", "==", "ok")], with_frames=True, manifest=source.manifest)
    loader = DataLoader(dataset, batch_size=1, num_workers=1, collate_fn=_pair)
    seen = 0
    for video_id, frames, masks in loader:
        assert frames.shape == (*masks.shape, 3)
        assert frames.dtype == np.uint8
        for index, frame in enumerate(frames):
            assert (frame == colour_of(video_id, index)).all()
        seen += 1
    assert seen == len(dataset)
    record = dataset[0]
    last = record.read_frames([-1, 0])
    assert (last[0] == colour_of(record.row.video_id, len(record.row.frames) - 1)).all()
    assert (last[1] == colour_of(record.row.video_id, 0)).all()
    with pytest.raises(ValueError, match="with_frames=True"):
        MaskDataset(source.dataset)[0].read_frames()
    with pytest.raises(VideoError):
        MaskDataset(source.dataset, with_frames=True)[0].read_frames()


def _pair(records: list) -> tuple[str, np.ndarray, np.ndarray]:
    (record,) = records
    return record.row.video_id, record.read_frames(), record.decode()


@pytest.mark.parametrize("tool", ["cvat", "label-studio", "fiftyone"])
def test_annotation_tools_get_the_pictures(source: SimpleNamespace, tmp_path: Path, tool: str) -> None:
    export(source.dataset, source.manifest, tool, str(tmp_path / "task"), with_frames=True)
    for video_id, frames in FRAMES.items():
        for frame in frames:
            with Image.open(tmp_path / "task" / "images" / video_id / f"{frame}.jpg") as picture:
                assert shows(picture, video_id, frame)
    if tool != "fiftyone":  # always a folder
        file = tmp_path / ("x.xml" if tool == "cvat" else "x.json")
        with pytest.raises(UsageError, match="needs a folder"):
            export(source.dataset, source.manifest, tool, str(file), with_frames=True)
    with pytest.raises(UsageError, match="only the dataset's own masks"):
        export(source.dataset, source.manifest, tool, str(tmp_path / "y"), reject_below=0.5)


@pytest.mark.parametrize("name", ["sa2va-finetune", "webdataset", "cvat", "label-studio", "fiftyone"])
def test_videos_that_cannot_be_read(source: SimpleNamespace, tmp_path: Path, name: str) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(Path(source.manifest).parent / "JPEGImages", pictures)
    broken = pictures / "v0aa" / f"{FRAMES['v0aa'][-1]}.png"
    broken.write_bytes(b"no picture")
    wanted = {"videos": str(pictures), "with_frames": name in ("cvat", "label-studio", "fiftyone")}
    with pytest.raises(VideoError, match="v0aa"):
        export(source.dataset, source.manifest, name, str(tmp_path / "refused"), **wanted)
    result = export(source.dataset, source.manifest, name, str(tmp_path / "new"), allow_missing=True, **wanted)
    assert {video_id for video_id, _ in result.left_out} == {"v0aa"}
    assert all("cannot be read" in why and str(broken.name) in why for why in result.left_out.values())
    assert len(result.left_out) == len(EXPRESSIONS["v0aa"])
    assert result.missing == {}
    assert not list((tmp_path / "new").rglob("v0aa/*"))
    written = b"".join(file.read_bytes() for file in (tmp_path / "new").rglob("*") if file.is_file())
    assert b"v1bb" in written
    assert b"v0aa" not in written


def test_the_command_says_which_video_was_skipped(source: SimpleNamespace, tmp_path: Path, job_here) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(Path(source.manifest).parent / "JPEGImages", pictures)
    shutil.rmtree(pictures / "v1bb")
    arguments = ["--format", "webdataset", "--manifest", source.manifest, "--videos", pictures,
                 "--predictions", source.dataset, "--output", tmp_path / "shards"]  # fmt: skip
    code, _, errors = job_here("export")(*arguments)
    assert (code, "v1bb" in errors) == (3, True)
    code, said, errors = job_here("export")(*arguments, "--allow-missing")
    assert code == 1
    assert f"{len(FRAMES['v0aa'])} samples" in said
    assert "missing: video 'v1bb' expression '0': its frames cannot be read" in errors
    assert "1 are left out" in errors


def test_licences_go_where_a_format_has_a_place_for_them(tmp_path: Path) -> None:
    truth = write_benchmark(tmp_path / "truth")
    for video_id, frames in FRAMES.items():
        (truth / "JPEGImages" / video_id).mkdir(parents=True)
        for name in frames:
            Image.new("RGB", SIZES[video_id][::-1]).save(truth / "JPEGImages" / video_id / f"{name}.png")
    rows = {video_id: truth_rows(video_id) for video_id in EXPRESSIONS}
    for row in rows["v1bb"]:
        row.license, row.video_source = "cc0-1.0", "https://example.com"
    dataset, manifest = write_dataset(tmp_path / "dataset", rows.values()), str(truth / "meta_expressions.json")
    stated = {"license": "cc0-1.0", "video_source": "https://example.com"}
    for name in ("coco", "youtube-vis", "label-studio", "fiftyone", "webdataset"):
        export(dataset, manifest, name, str(tmp_path / name))
    coco = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    youtube_vis = json.loads((tmp_path / "youtube-vis" / "dataset.json").read_text())
    for content, records, id_name in ((coco, "images", "video_id"), (youtube_vis, "videos", "name")):
        assert content["licenses"] == [{"id": 1, "name": "cc0-1.0", "url": ""}]
        of_video = {record[id_name]: (record.get("license"), record.get("video_source")) for record in content[records]}
        assert of_video == {"v0aa": (None, None), "v1bb": (1, "https://example.com")}
    with tarfile.open(tmp_path / "webdataset" / "masks-000000.tar") as tar:
        in_shard = [json.loads(tar.extractfile(member).read()) for member in tar if member.name.endswith(".json")]
    tasks = [task["data"] for task in json.loads((tmp_path / "label-studio" / "tasks.json").read_text())]
    samples = json.loads((tmp_path / "fiftyone" / "samples.json").read_text())["samples"]
    for record in (*in_shard, *tasks, *samples):
        expected = stated if record["video_id"] == "v1bb" else {}
        assert {name: record[name] for name in stated if name in record} == expected
