"""COCO's three kinds of masks, written and checked; run lengths as lists wherever masks are read from JSON."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO
from scipy import ndimage
from small_benchmark import draw

from pipeline.errors import UsageError
from pipeline.evaluation import evaluate
from pipeline.export import check, export
from pipeline.export.coco_masks import polygons
from pipeline.masks import compressed, encode_masks, run_lengths


@pytest.mark.parametrize("kind", ["compressed", "uncompressed", "polygons"])
def test_each_kind_loads_with_pycocotools(benchmark_of, kind):
    output = benchmark_of.folder / "coco.json"
    export(benchmark_of.dataset, benchmark_of.manifest, "coco", str(output), rle=kind)
    assert check(str(output), benchmark_of.manifest, "coco") == []
    content = COCO(str(output))
    (image,) = [image for image in content.imgs.values() if (image["video_id"], image["frame"]) == ("v0aa", "00005")]
    one = next(entry for entry in content.imgToAnns[image["id"]] if entry["expression_id"] == "0")
    assert np.array_equal(content.annToMask(one), draw("v0aa")[0, 1])
    with pytest.raises(UsageError, match="--rle"):
        export(benchmark_of.dataset, benchmark_of.manifest, "youtube-vis", str(output), rle="polygons")


@pytest.mark.parametrize("seed", range(60))
def test_polygons_cover_exactly_their_mask_with_its_holes_filled(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 18, 2)) < rng.choice([0.2, 0.5, 0.8])
    mask[0, 0] = True
    labels, count = ndimage.label(mask)
    filled = np.logical_or.reduce([ndimage.binary_fill_holes(labels == label) for label in range(1, count + 1)])
    drawn = coco.decode(coco.merge(coco.frPyObjects(polygons(mask), *map(int, mask.shape)))).astype(bool)
    assert np.array_equal(drawn, filled)


def test_run_lengths_as_lists_are_the_same_mask_and_are_checked():
    rle = encode_masks(np.random.default_rng(0).random((1, 9, 13)) < 0.4)[0]
    as_list = {"size": rle["size"], "counts": run_lengths(rle)}
    assert compressed(as_list) == rle == compressed(rle)
    for counts in ([1], [-1, 118], [117.0], [True] * 117, ["117"], [2**40, 117 - 2**40]):
        with pytest.raises(ValueError, match=r"counts|runs"):
            compressed({"size": [9, 13], "counts": counts})


def test_lists_of_counts_are_taken_in_evaluation_and_check(benchmark_of):
    results = {}
    for video, frames in (("v0aa", 3), ("v1bb", 2)):
        whole = encode_masks(np.ones((1, *draw(video).shape[2:]), bool))[0]
        as_list = {"size": whole["size"], "counts": run_lengths(whole)}
        ids = ["0", "1", "2", "10"] if video == "v0aa" else ["0"]
        results[video] = {key: {"prediction_masks": [as_list] * frames} for key in ids}
    file = benchmark_of.folder / "results.json"
    file.write_text(json.dumps(results))
    result = evaluate("mevis", benchmark_of.truth, str(file)).as_json()
    assert result["n_missing"] == 0
    assert result["J"] > 0
    output = benchmark_of.folder / "vis.json"
    export(benchmark_of.dataset, benchmark_of.manifest, "youtube-vis", str(output))
    content = json.loads(output.read_text())
    for entry in content["annotations"]:
        entry["segmentations"] = [
            rle and {"size": rle["size"], "counts": run_lengths(rle)} for rle in entry["segmentations"]
        ]
    output.write_text(json.dumps(content))
    assert check(str(output), benchmark_of.manifest, "youtube-vis") == []
    content["annotations"][0]["segmentations"][0]["counts"][-1] += 1
    output.write_text(json.dumps(content))
    assert len(check(str(output), benchmark_of.manifest, "youtube-vis")) == 1
