"""Single images: tiles for the language model, one frame for SAM 2; several objects; prompts of one's own."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import RunConfig
from pipeline.engine.settings import WorkerSettings
from pipeline.errors import UsageError
from pipeline.model.checkpoint.locate import pin_model
from pipeline.model.families.internvl_tiles import image_tiles, tile_grid
from pipeline.model.ground import ground_video
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.schema import Expression, VideoTask
from pipeline.stages.ground import Ground
from pipeline.video.source import open_video


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (427, 240, (2, 1)),  # the golden case
        (448, 448, (1, 1)),
        (1000, 1000, (3, 3)),  # large enough for nine, of all square grids
        (700, 700, (2, 2)),
        (4000, 400, (10, 1)),
        (50, 2000, (1, 12)),
        (100, 100, (1, 1)),
        (1, 1, (1, 1)),
    ],
)
def test_grid_is_the_one_closest_in_shape_that_the_image_can_fill(width, height, expected):
    assert tile_grid(width, height, 448, 1, 12) == expected


@pytest.fixture(scope="module")
def model(untrained, tmp_path_factory) -> Sa2VA:
    """A model that cuts images into up to twelve tiles, as the published ones do."""
    directory = Path(shutil.copytree(untrained, tmp_path_factory.mktemp("tiles") / "checkpoint"))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_dynamic_patch": 12}))
    return Sa2VA.from_checkpoint(directory, device="cpu")


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    """256 x 128: two tiles for a model that sees 128 x 128."""
    path = tmp_path_factory.mktemp("image") / "photo.jpg"
    gradient = np.linspace(0, 255, 256, dtype=np.uint8)
    pixels = np.stack(
        [np.tile(gradient, (128, 1)), np.full((128, 256), 90, np.uint8), np.tile(gradient[::-1], (128, 1))], 2
    )
    Image.fromarray(pixels).save(path, quality=95)
    return path


def test_tiles_are_the_image_cut_row_by_row_and_then_the_whole(model):
    image = np.arange(128 * 2, dtype=np.uint8).repeat(256 * 3).reshape(256, 256, 3)
    config = replace(model.grounder.config, max_tiles=4)
    tiles = image_tiles(image, config)
    assert tiles.shape == (5, 128, 128, 3)
    assert np.array_equal(tiles[:4], [image[:128, :128], image[:128, 128:], image[128:, :128], image[128:, 128:]])
    assert image_tiles(image, replace(config, use_thumbnail=False)).shape == (4, 128, 128, 3)
    assert image_tiles(image[:128, :128], config).shape == (1, 128, 128, 3)


def test_the_language_model_sees_the_tiles_in_one_block(model, image):
    with open_video(str(image)) as source:
        (grounding,) = ground_video(model.grounder, source, ["the red side"], SA2VA_I, 5)
    tokenizer, per_tile = model.grounder.replies.prompts.tokenizer, model.grounder.config.tokens_per_tile
    (start,) = tokenizer.encode("<img>")
    assert grounding.prompt_ids.count(tokenizer.image_id) == 3 * per_tile
    assert grounding.prompt_ids.count(start) == 1


@pytest.mark.parametrize("procedure", ["sa2va-i", "sa2va"])
def test_an_image_is_segmented(procedure, model, image):
    found = model.segment(image, ["the red side", "the blue side"], procedure=procedure)
    assert [one.expression for one in found] == ["the red side", "the blue side"]
    for one in found:
        assert (one.height, one.width, one.keyframes, len(one.frame_names)) == (128, 256, [0], 1)
        (track,) = one.tracks
        (mask,) = track.masks
        assert mask is None or mask["size"] == [128, 256]
    assert any(one.tracks[0].masks[0] for one in found)


class Two:
    """A grounder whose every answer names two objects."""

    def __init__(self, ground) -> None:
        self.ground = ground

    def __call__(self, *arguments, **options):
        groundings = self.ground(*arguments, **options)
        return [
            replace(g, prompts=np.concatenate([g.prompts, -g.prompts]), seg_probabilities=[0.9, 0.5])
            for g in groundings
        ]


def test_every_seg_of_an_answer_is_an_object(model, frames, monkeypatch):
    (alone,) = model.segment(frames, ["the square"])
    monkeypatch.setattr(model.grounder, "ground", Two(model.grounder.ground))
    first, second = model.segment(frames, ["the square", "the other"])
    assert [len(one.tracks) for one in (first, second)] == [2, 2]
    assert len(first.tracks[0].masks) == len(first.tracks[1].masks) == 6
    assert first.tracks[0].masks != first.tracks[1].masks
    # the objects do not disturb each other: batched arithmetic may flip a pixel on the edge
    for a, b in zip(alone.tracks[0].areas, first.tracks[0].areas, strict=True):
        assert abs(a - b) <= 4


@pytest.mark.parametrize(("objects", "count"), [("all", 2), ("first", 1)])
def test_objects_first_keeps_the_first_only(objects, count, untrained, image, tmp_path, monkeypatch):
    config = RunConfig(
        manifest="m", model=str(untrained), output=str(tmp_path), objects=objects, max_objects_per_expression=3
    )
    stage = Ground(WorkerSettings(config=config, model=pin_model(config.model)))
    try:
        assert stage.grounder.max_objects == 3
        monkeypatch.setattr(stage.grounder, "ground", Two(stage.grounder.ground))
        expressions = (Expression(expression_id="0", text="the red side"),)
        video = stage._ground(VideoTask(video_id="a", video=str(image), expressions=expressions))
    finally:
        stage.decoder.close()
    assert [len(prompts) for prompts in video.prompts] == [count]
    assert video.seg_probabilities == [[0.9, 0.5][:count]]


def test_a_prompt_of_ones_own_is_what_the_model_reads(untrained, frames):
    model = Sa2VA.from_checkpoint(untrained, device="cpu", prompt="the {expression}")
    with open_video(str(frames)) as source:
        (grounding,) = ground_video(model.grounder, source, ["dog"], SA2VA_I, 2)
    assert "\nthe dog<|im_end|>" in model.grounder.replies.prompts.tokenizer.decode(grounding.prompt_ids)


@pytest.mark.parametrize("prompt", ["Please segment it.", "{expression} and {expression}", "", "{0}"])
def test_a_prompt_without_its_placeholder_is_a_usage_error(prompt, untrained):
    with pytest.raises(UsageError, match="expression") as error:
        RunConfig(manifest="m", model="nano", output="o", prompt_template=prompt)
    assert error.value.exit_code == 2
    with pytest.raises(UsageError, match="expression"):
        Sa2VA.from_checkpoint(untrained, device="cpu", prompt=prompt)
