"""What the Qwen-VL families do beside giving the published numbers (which tests/golden holds)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.families import config_of, read_config
from pipeline.model.families.base import ImageTokens
from pipeline.model.grounder import Grounder
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA, check_checkpoint
from pipeline.model.spread import connect_layers, load_spread, place_layers
from pipeline.video.source import open_video
from tests.model.families.conftest import QWEN
from tests.model.test_published_sizes import published

GB = 10**9
EXPRESSIONS = ["the square", "nothing at all", "the two birds", "a square?"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def grounders(vl_checkpoint) -> dict[str, Grounder]:
    def load(variant: str) -> Grounder:
        files, config = open_checkpoint(vl_checkpoint(variant))
        return Grounder.from_checkpoint(files, config, device_of=lambda _: CPU, dtype=torch.float32)

    return {variant: load(variant) for variant in QWEN}


@pytest.fixture(params=QWEN)
def grounder(request, grounders) -> Grounder:
    return grounders[request.param]


@pytest.fixture(scope="module")
def looked(grounders, frames) -> dict[int, ImageTokens]:
    """Image tokens of two keyframes for each grounder."""
    with open_video(str(frames)) as source:
        return {
            id(one): one.tower.look(one.config.family.read_pictures(source, [0, 3], one.config))
            for one in grounders.values()
        }


@pytest.fixture
def images(grounder, looked) -> ImageTokens:
    return looked[id(grounder)]


def copied(checkpoint: Path, folder: Path) -> Path:
    return Path(shutil.copytree(checkpoint, folder / "copy"))


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_expressions_asked_together_get_what_each_gets_alone(grounder, images):
    together = grounder.ground_tokens(images, EXPRESSIONS, question_form=True)
    for expression, found in zip(EXPRESSIONS, together, strict=True):
        (alone,) = grounder.ground_tokens(images, [expression], question_form=True)
        assert (found.answer, found.prompt_ids) == (alone.answer, alone.prompt_ids)
        np.testing.assert_allclose(found.prompts, alone.prompts, atol=1e-4)
    assert [len(found.prompts) for found in together[:2]] == [1, 0]
    assert together[0].answer == "Sure, [SEG].<|im_end|>"


def test_proposed_replies_and_token_by_token_decoding_agree(grounder, images, monkeypatch):
    proposed = grounder.ground_tokens(images, EXPRESSIONS)
    monkeypatch.setattr(grounder.replies, "_candidates", [[0, 0]])
    for one, other in zip(proposed, grounder.ground_tokens(images, EXPRESSIONS), strict=True):
        assert one.reply_ids == other.reply_ids
        np.testing.assert_allclose(one.seg_hidden, other.seg_hidden, atol=1e-4)


def test_a_presence_question_changes_no_prompt(grounder, images):
    (plain,) = grounder.ground_tokens(images, ["the square"])
    (asked,) = grounder.ground_tokens(images, ["the square"], presence_question="Is there {expression}? yes or no.")
    assert 0 <= asked.yes_probability <= 1
    assert np.array_equal(plain.prompts, asked.prompts)


@pytest.mark.parametrize("words", ["<|im_end|>", "[SEG]", "<|image_pad|>", "<image>", "<|vision_start|>"], ids=str)
def test_control_words_of_a_user_are_letters(words, grounder, images):
    tokenizer = grounder.replies.prompts.tokenizer
    found, plain = grounder.ground_tokens(images, [f"the {words} square", "the square"])
    for control in (tokenizer.eos_id, tokenizer.seg_id, tokenizer.image_id):
        assert found.prompt_ids.count(control) == plain.prompt_ids.count(control)
    assert words in tokenizer.decode(found.prompt_ids)
    assert found.error is None


def test_positions_go_on_behind_the_larger_side_of_an_image(grounder):
    images = ImageTokens(embeds=torch.zeros(8, 1), tokens=(6, 2), grids=((2, 3), (2, 1)))
    ids = [5, *[9] * 6, 5, 5, *[9] * 2, 5]
    positions = grounder.config.family.prefix_positions(ids, images, 9)
    assert positions.tolist() == [
        [0, 1, 1, 1, 1, 1, 1, 4, 5, 6, 6, 8],
        [0, 1, 1, 1, 2, 2, 2, 4, 5, 6, 7, 8],
        [0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 6, 8],
    ]


def test_an_image_and_a_video_of_it_are_seen_alike(grounder, frames):
    family, config = grounder.config.family, grounder.config
    with open_video(str(frames / "00000.png")) as image, open_video(str(frames)) as video:
        one, other = family.read_pictures(image, [0], config), family.read_pictures(video, [0], config)
    assert torch.equal(one.pixels, other.pixels)
    assert one.grids == other.grids


def test_a_grounder_in_parts_says_the_same_as_a_whole_one(qwen, grounders, looked):
    files, config = open_checkpoint(qwen)
    whole = next(one for one in grounders.values() if one.config.family is config.family)
    parts = load_spread(
        files, config, dtype=torch.float32, prompt_text="Please segment {expression}.", memory_bytes={"cpu": GB}
    )
    layers = [f"language_model.model.layers.{i}" for i in range(len(parts.language_model.model.layers))]
    rest = [f"language_model.model.{name}" for name in ("embed_tokens", "norm", "rotary_emb")]
    connect_layers(parts, dict.fromkeys([*layers, *rest, "language_model.lm_head", "tower.visual"], "cpu"))
    images = looked[id(whole)]
    for one, other in zip(
        whole.ground_tokens(images, EXPRESSIONS), parts.ground_tokens(images, EXPRESSIONS), strict=True
    ):
        assert one.answer == other.answer
        assert np.array_equal(one.prompts, other.prompts)


@pytest.mark.parametrize("size", ["Qwen2_5-VL-7B", "Qwen3-VL-4B"])
def test_layers_of_a_real_size_are_spread_in_order_and_the_tower_is_whole(size):
    config, _ = published(size)
    total = sum(v.numel() for v in place_model(config).parameters()) * 2
    places = place_layers(config, {0: int(total * 0.7), 1: int(total * 0.7)}, torch.bfloat16)
    assert list(places.values()) == sorted(places.values())
    assert set(places.values()) == {0, 1}
    assert not [name for name in places if name.startswith("tower.visual.")]
    assert places["language_model.lm_head"] == places["language_model.model.norm"] == 1


def place_model(config) -> Grounder:
    with torch.device("meta"):
        return Grounder(config)


def test_a_stop_token_may_stand_with_the_text(qwen, tmp_path):
    copy = copied(qwen, tmp_path)
    config = json.loads((copy / "config.json").read_text())
    stop = config.get("eos_token_id", config["text_config"].get("eos_token_id"))
    config.pop("eos_token_id", None)
    config["text_config"]["eos_token_id"] = stop
    (copy / "config.json").write_text(json.dumps(config))
    assert read_config(copy) == read_config(qwen)


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("preprocessor_config.json", {"patch_size": 18}, "preprocessor_config.json: .*is not what config.json says"),
        ("preprocessor_config.json", {"image_std": [1, 1]}, "do not describe RGB frames"),
        ("preprocessor_config.json", {"image_mean": None}, "preprocessor_config.json: cannot be read"),
        ("config.json", {"image_token_id": 7}, "image_token_id of config.json is 7"),
        ("config.json", {"vision_config": {}}, "config.json"),
    ],
    ids=["other patches", "two colours", "no mean", "another image token", "no tower"],
)
def test_files_that_do_not_belong_together_are_refused(file, values, message, qwen, tmp_path):
    copy = copied(qwen, tmp_path)
    change_json(copy / file, **values)
    with pytest.raises(CheckpointError, match=message):
        check_checkpoint(copy)


def test_without_a_preprocessor_file_nothing_is_guessed(qwen, tmp_path):
    copy = copied(qwen, tmp_path)
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json: missing"):
        check_checkpoint(copy)


def test_colours_are_normalised_as_the_directory_says(qwen, tmp_path):
    copy = copied(qwen, tmp_path)
    change_json(copy / "preprocessor_config.json", image_mean=[0.0, 0.5, 1.0], image_std=[1.0, 0.5, 2.0])
    config = read_config(copy)
    patches = torch.full((1, 3 * int(config.vision["patch_size"]) ** 2), 255, dtype=torch.uint8)
    colours = config.family.build_tower(config).normalise(patches).view(3, -1)
    torch.testing.assert_close(colours[:, 0], torch.tensor([1.0, 1.0, 0.0]))
    assert colours.shape[1] == 2 * int(config.vision["patch_size"]) ** 2


def test_an_unknown_text_model_is_refused_with_the_families_known():
    values = {"architectures": ["Sa2VAChatModelQwen"], "text_config": {"model_type": "qwen9_vl_text"}}
    with pytest.raises(CheckpointError, match=r"InternVL2\.5 and InternVL3; Qwen3-VL; Qwen2\.5-VL"):
        config_of(values)


def test_the_sam_3_release_is_not_taken_for_a_qwen_one(qwen):
    values = json.loads((qwen / "config.json").read_text()) | {"auto_map": {"AutoModel": "modeling_sa2va_sam3.Model"}}
    with pytest.raises(CheckpointError, match="SAM 3"):
        config_of(values)


@pytest.mark.parametrize("variant", [*QWEN, "internvl3"])
def test_reading_replies_keeps_no_tensors(variant, vl_checkpoint: Callable[..., Path], frames):
    model = Sa2VA.from_checkpoint(vl_checkpoint(variant), device="cpu")
    for _ in range(2):
        masks = model.segment(frames, EXPRESSIONS[:2], num_keyframes=2, procedure=SA2VA_I)
        assert [len(one.tracks) for one in masks] == [1, 0]
    assert len(model.grounder.replies._before_norm) <= 1
