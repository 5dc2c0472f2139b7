"""Every protocol against the official scorers' numbers, or against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset import encode_masks
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate

CASES = Path(__file__).parent / "metric_cases"
MEVIS, DAVIS = CASES / "mevis_tiny", CASES / "refdavis_tiny"


def close(expected):
    return pytest.approx(expected, abs=1e-9, rel=0)


@pytest.mark.parametrize("predictions", ["pred", "pred_01"])  # 0/255 pictures; 0/1 pictures, some with a palette
def test_mevis_equals_the_official_scorer(predictions):
    expected = json.loads((MEVIS / "expected.json").read_text())["pred"]
    result = evaluate("mevis", str(MEVIS / "valid_u"), str(MEVIS / predictions)).as_json()
    assert {name: result[name] for name in ("J", "F", "J&F")} == close({n: expected[n] for n in ("J", "F", "J&F")})
    assert result["n_expressions"] == expected["n_expressions"]
    assert result["per_expression"].keys() == expected["per_expression"].keys()
    for key, values in expected["per_expression"].items():
        assert result["per_expression"][key] == close(values)


@pytest.mark.parametrize("predictions", ["pred_expr", "pred_anno"])  # merged here; merged before
@pytest.mark.parametrize("folder", [".", "valid"])
def test_four_annotators_equal_davis(predictions, folder):
    expected = json.loads((DAVIS / "expected.json").read_text())["official_unsupervised"]
    result = evaluate("ref-davis17", str(DAVIS / folder), str(DAVIS / predictions), protocol="four-annotator").as_json()
    overall = expected["mean_over_annotators"]
    assert [result[n] for n in ("J", "F", "J&F")] == close([overall[f"{n}-Mean"] for n in ("J", "F", "J&F")])
    for annotator, official in expected["per_annotator"].items():
        for name, value in result["results"][annotator].items():
            assert value == close(official[name if "-" in name else f"{name}-Mean"]), (annotator, name)
        for key, values in official["per_object"].items():
            ours = result["per_expression"][f"pair_{annotator}/object_{key[-1]}"]
            assert {"J": ours["J"], "F": ours["F"]} == close(values)


@pytest.mark.parametrize("with_mask_dict", [True, False])
def test_per_expression_equals_visa(tmp_path, with_mask_dict):
    expected = json.loads((DAVIS / "expected.json").read_text())["per_expression_scoring"]
    truth = DAVIS
    if not with_mask_dict:  # the same numbers from the indexed annotations alone
        truth = tmp_path
        for part in ("meta_expressions", "DAVIS"):
            (tmp_path / part).symlink_to(DAVIS / part)
    result = evaluate("ref-davis17", str(truth), str(DAVIS / "pred_expr"), protocol="per-expression").as_json()
    assert {name: result[name] for name in ("J", "F", "J&F")} == close({n: expected[n] for n in ("J", "F", "J&F")})
    for key, values in expected["per_expression"].items():
        assert result["per_expression"][key] == close(values)


def test_the_two_davis_protocols_are_named_and_differ():
    results = [
        evaluate("ref-davis17", str(DAVIS), str(DAVIS / "pred_expr"), protocol=name).as_json()
        for name in ("per-expression", "four-annotator")
    ]
    assert [result["protocol"] for result in results] == ["per-expression", "four-annotator"]
    assert results[0]["J&F"] != pytest.approx(results[1]["J&F"], abs=1e-3)
    assert evaluate("ref-davis17", str(DAVIS), str(DAVIS / "pred_expr")).protocol.name == "per-expression"


def save(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def test_swapped_labels_cost_nothing_with_four_annotators(tmp_path):
    for picture in (DAVIS / "pred_anno").rglob("*.png"):
        labels = np.asarray(Image.open(picture))
        save(tmp_path / picture.relative_to(DAVIS / "pred_anno"), np.array([0, 2, 1], np.uint8)[labels])
    results = [
        evaluate("ref-davis17", str(DAVIS), str(folder), protocol="four-annotator").lines
        for folder in (DAVIS / "pred_anno", tmp_path)
    ]
    assert results[0][0].values == close(results[1][0].values)


def boxes(size, *corners):
    mask = np.zeros(size, bool)
    for y0, y1, x0, x1 in corners:
        mask[y0:y1, x0:x1] = True
    return mask


def write_mevis(folder, objects, expressions, **extra):
    """A split with one video of one frame: ``objects`` key -> mask, ``expressions`` id -> entry."""
    folder.mkdir(parents=True)
    video = {"frames": ["00000"], "expressions": expressions, **extra}
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": {"v": video}}))
    masks = {key: encode_masks(mask[None]) for key, mask in objects.items()}
    (folder / "mask_dict.json").write_text(json.dumps(masks))


def test_mevis_v2_tells_target_from_no_target_under_every_reading(tmp_path):
    size = (20, 30)
    target = boxes(size, (2, 12, 3, 13))
    expressions = {
        "0": {"exp": "found", "anno_id": [0]},
        "1": {"exp": "missed", "anno_id": [0]},
        "2": {"exp": "nothing, and told so", "anno_id": []},
        "3": {"exp": "nothing, but a few pixels", "anno_id": []},
        "4": {"exp": "nothing, but a lot", "anno_id": []},
    }
    write_mevis(tmp_path / "truth", {"0": target}, expressions)
    answers = [target, boxes(size), boxes(size), boxes(size, (0, 7, 0, 7)), boxes(size, (0, 5, 0, 10))]  # 49, 50 pixels
    for number, answer in enumerate(answers):
        save(tmp_path / "pred" / "v" / str(number) / "00000.png", answer * 255)
    result = evaluate("mevis-v2", str(tmp_path / "truth"), str(tmp_path / "pred")).as_json()
    strict = result["results"]["J&F over all expressions, nothing = no pixel"]
    assert strict.pop("presence AUC") is None
    quality = {"final": (0.4 + 1 / 3 + 0.5) / 3, "J&F": 0.4, "J": 0.4, "F": 0.4, "N-acc": 1 / 3, "T-acc": 0.5}
    assert strict == close({**quality, "accuracy": 0.4, "MCC": -1 / 6})
    target_only = result["results"]["J&F over target expressions, nothing = under 50 pixels"]
    assert target_only["J&F"] == close(0.5)
    assert target_only["N-acc"] == close(2 / 3)
    assert result["final"] == strict["final"]


def test_revos_counts_masks_not_pixel_values_and_averages_the_types(tmp_path):
    size = (10, 10)
    left, right = boxes(size, (0, 10, 0, 4)), boxes(size, (0, 10, 3, 6))  # they overlap in one column
    expressions = {
        "0": {"exp": "both", "anno_id": [0, 1], "type_id": 0},
        "1": {"exp": "left", "anno_id": [0], "type_id": 0},
        "2": {"exp": "why right", "anno_id": [1], "type_id": 1},
        "3": {"exp": "no valid target", "anno_id": [], "type_id": 2},
    }
    write_mevis(tmp_path / "truth", {"0": left, "1": right}, expressions, height=10, width=10)
    (tmp_path / "truth" / "meta_expressions.json").rename(tmp_path / "truth" / "meta_expressions_valid_.json")
    foreground = {"v": {"masks_rle": encode_masks((left | right)[None])}}
    (tmp_path / "truth" / "mask_dict_foreground.json").write_text(json.dumps(foreground))
    answers = [left | right, boxes(size, (0, 10, 0, 7)), boxes(size), boxes(size, (0, 10, 0, 10))]
    for number, answer in enumerate(answers):
        save(tmp_path / "pred" / "v" / str(number) / "00000.png", answer * 255)  # 0/255 spoils the public A and R
    result = evaluate("revos", str(tmp_path / "truth"), str(tmp_path / "pred")).as_json()
    per_expression = result["per_expression"]
    assert per_expression["v_0"] == {"J": 1, "F": 1, "A": 1, "R": 1}
    # left answered with 7 columns instead of 4: J 4/7, 30 of 100 pixels wrong, 30 false ones for 60 of foreground
    assert per_expression["v_1"]["J"] == close(4 / 7)
    assert per_expression["v_1"]["A"] == close(0.7)
    assert per_expression["v_1"]["R"] == close(1 - 30 / (60 + 1e-6))
    assert result["results"]["referring"]["J"] == close((1 + 0.5714) / 2)  # rounded per expression, then averaged
    assert result["results"]["reasoning"] == close({"J&F": 0, "J": 0, "F": 0, "A": 0.7, "R": 1})
    assert result["A"] == close((0.85 + 0.7) / 2)  # the mean of two types, not of three expressions
    assert result["n_expressions"] == 4


def test_ref_youtube_vos_scores_objects_of_indexed_pictures(tmp_path):
    size = (12, 16)
    labels = boxes(size, (0, 6, 0, 8)) * 1 + boxes(size, (6, 12, 8, 16)) * 2
    for frame in ("00005", "00010"):
        save(tmp_path / "train" / "Annotations" / "v" / f"{frame}.png", labels)
        for expression, label in (("0", 1), ("1", 2)):
            save(tmp_path / "pred" / "Annotations" / "v" / expression / f"{frame}.png", (labels == label) * 255)
    expressions = {"0": {"exp": "a", "obj_id": "1"}, "1": {"exp": "b", "obj_id": "2"}}
    meta = {"videos": {"v": {"frames": ["00005", "00010"], "expressions": expressions}}}
    (tmp_path / "meta_expressions" / "train").mkdir(parents=True)
    (tmp_path / "meta_expressions" / "train" / "meta_expressions.json").write_text(json.dumps(meta))
    result = evaluate("ref-youtube-vos", str(tmp_path / "train"), str(tmp_path / "pred")).as_json()
    assert (result["J"], result["F"], result["n_missing"]) == (1, 1, 0)


def test_a_split_without_public_masks_is_refused_by_name(tmp_path):
    meta = {"videos": {"v": {"frames": ["00000"], "expressions": {"0": {"exp": "a"}}}}}
    (tmp_path / "meta_expressions.json").write_text(json.dumps(meta))
    with pytest.raises(UsageError, match=r"mask_dict\.json"):
        evaluate("mevis", str(tmp_path), str(MEVIS / "pred"))
    (tmp_path / "mask_dict.json").write_text("{}")
    with pytest.raises(UsageError, match="without public ground truth"):
        evaluate("mevis", str(tmp_path), str(MEVIS / "pred"))


def test_masks_that_do_not_fit_the_frames_are_refused(tmp_path):
    meta = {"videos": {"v": {"frames": ["00000", "00001"], "expressions": {"0": {"exp": "a", "anno_id": [7]}}}}}
    (tmp_path / "meta_expressions.json").write_text(json.dumps(meta))
    (tmp_path / "mask_dict.json").write_text(json.dumps({"7": [None]}))
    with pytest.raises(UsageError, match=r"1 masks under .7., .* 2 frames"):
        evaluate("mevis", str(tmp_path), str(MEVIS / "pred"))


def test_clips_of_more_than_256_frames_and_null_masks(tmp_path):
    frames = [f"{number:05d}" for number in range(300)]
    mask = boxes((8, 10), (1, 5, 1, 5))
    masks = encode_masks(mask[None]) * 299 + [None]
    (tmp_path / "truth").mkdir()
    meta = {"videos": {"v": {"frames": frames, "expressions": {"0": {"exp": "a", "anno_id": [0]}}}}}
    (tmp_path / "truth" / "meta_expressions.json").write_text(json.dumps(meta))
    (tmp_path / "truth" / "mask_dict.json").write_text(json.dumps({"0": masks}))
    results = {"v": {"0": {"prediction_masks": masks[:270] + [None] * 30}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    result = evaluate("mevis", str(tmp_path / "truth"), str(tmp_path / "results.json")).as_json()
    assert result["J"] == close(271 / 300)


def test_more_predicted_labels_than_objects_are_matched_too(tmp_path):
    """The objects under labels 2 and 3, and an intruder under 1: matching finds them all the same."""
    for picture in (DAVIS / "pred_anno").rglob("*.png"):
        labels = np.array([0, 2, 3], np.uint8)[np.asarray(Image.open(picture))]
        labels[:2, :2] = 1
        save(tmp_path / picture.relative_to(DAVIS / "pred_anno"), labels)
    plain, crowded = (
        evaluate("ref-davis17", str(DAVIS), str(folder), protocol="four-annotator").lines[0].values
        for folder in (DAVIS / "pred_anno", tmp_path)
    )
    assert crowded["J&F"] == pytest.approx(plain["J&F"], abs=0.01)
