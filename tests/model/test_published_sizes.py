"""Every published size loads: each name and shape of its checkpoint has one place in the model, and back."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights

from pipeline.errors import CheckpointError
from pipeline.model.checkpoint.names import grounder_mappings, published_names, segmenter_mappings
from pipeline.model.checkpoint.weights import check_all_consumed, check_fits
from pipeline.model.families import config_of
from pipeline.model.families.base import ModelConfig
from pipeline.model.grounder import Grounder
from pipeline.model.sa2va import MODIFIED
from pipeline.model.sam2.segmenter import Segmenter

KEYS = Path(__file__).parent.parent / "golden" / "keys"


class Headers:
    """The names and shapes of a checkpoint, without its files."""

    def __init__(self, shapes: dict[str, list[int]]) -> None:
        self.directory = Path("checkpoint")
        self.file_of = dict.fromkeys(shapes, Path("checkpoint/model.safetensors"))
        self._shapes = {key: tuple(shape) for key, shape in shapes.items()}

    def shapes(self):
        return self._shapes


def published(size: str) -> tuple[ModelConfig, Headers]:
    config = config_of(json.loads(gzip.decompress((KEYS / f"{size}.config.json.gz").read_bytes())))
    return config, Headers(json.loads(gzip.decompress((KEYS / f"{size}.keys.json.gz").read_bytes())))


def empty_model(config: ModelConfig, *, has_original: bool = True) -> tuple[Grounder, Segmenter]:
    with init_empty_weights(include_buffers=False):
        return Grounder(config), Segmenter(config.grounding, has_original=has_original)


def count_values(*modules: torch.nn.Module) -> int:
    return sum(value.numel() for module in modules for value in module.state_dict().values())


def placements(config, files):
    grounder = grounder_mappings(files.file_of, config)
    segmenter = segmenter_mappings(files.file_of)
    return grounder, segmenter


SIZES = {
    "1B": 1_167_880_823,
    "4B": 3_946_024_823,
    "8B": 8_321_881_975,
    "26B": 25_782_221_047,
    # these are Sa2VA checkpoints, with one mask decoder
    "InternVL3-2B": 2_316_157_490,
    "InternVL3-8B": 8_182_606_386,
    "InternVL3-14B": 15_369_268_786,
    "Qwen2_5-VL-3B": 4_293_849_650,
    "Qwen2_5-VL-7B": 8_527_539_250,
    "Qwen3-VL-4B": 5_057_072_690,
}


@pytest.mark.parametrize(("size", "values"), SIZES.items(), ids=SIZES)
def test_every_tensor_of_a_published_size_has_its_place(size, values):
    config, files = published(size)
    in_grounder, in_segmenter = placements(config, files)
    check_all_consumed(files, in_grounder, in_segmenter)
    grounder, segmenter = empty_model(config, has_original=any(key.startswith(MODIFIED) for key in files.file_of))
    check_fits(grounder, files, in_grounder)
    check_fits(segmenter, files, in_segmenter)

    # no parameter is filled twice, and none of the published values is lost
    for module, placed in ((grounder, in_grounder), (segmenter, in_segmenter)):
        targets = [name for place in placed.values() for name in place.targets]
        assert len(targets) == len(set(targets))
        assert set(targets) == set(module.state_dict())
    assert count_values(grounder, segmenter) == values

    # what is written back has exactly the published names
    names = published_names(config, list(grounder.state_dict()), list(segmenter.state_dict()))
    assert set(names) == set(files.file_of)
    assert all(names[key].targets == place.targets for key, place in (in_grounder | in_segmenter).items())


def test_the_smallest_qwen3_vl_has_the_size_of_its_release():
    """Its dimensions are known, and the bytes of its files; a list of its tensors is not."""
    config = json.loads(gzip.decompress((KEYS / "Qwen3-VL-4B.config.json.gz").read_bytes()))
    config["text_config"] |= {
        "hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "intermediate_size": 6144,
    }  # fmt: skip
    config["vision_config"]["out_hidden_size"] = 2048
    assert count_values(*empty_model(config_of(config), has_original=False)) == 2_666_775_090


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("text_hidden_fcs.2.bias"), "no value in the checkpoint: text_hidden_fcs.2.bias"),
        (lambda s: s.update({"mlp1.3.bias": (897,)}), r"mlp1.3.bias of shape \(897,\) does not fit: .*\(896,\)"),
        (lambda s: s.update({"mlp1.7.bias": (896,)}), "mlp1.7.bias has no place"),
        (lambda s: s.update({"vision_model.encoder.layers.3.attn.qkv.bias": (3071,)}), "qkv.bias of shape"),
    ],
    ids=["missing", "other shape", "left over", "fused, not divisible by three"],
)
def test_a_tensor_that_does_not_fit_is_named(change, message):
    config, files = published("1B")
    change(files.shapes())
    files.file_of = dict.fromkeys(files.shapes(), Path("checkpoint/model.safetensors"))
    with init_empty_weights(include_buffers=False):
        grounder = Grounder(config)
    with pytest.raises(CheckpointError, match=message):
        check_fits(grounder, files, placements(config, files)[0])


@pytest.mark.parametrize("size", ["1B", "8B"], ids=["fused vision projections", "fused InternLM2 projections"])
def test_cutting_a_fused_tensor_and_joining_it_again_changes_nothing(size):
    config, files = published(size)
    for key, place in placements(config, files)[0].items():
        if len(place.targets) == 3 and ".layers.0." in key:
            fused = torch.arange(files.shapes()[key][0] * 3).view(-1, *[3] * (len(files.shapes()[key]) - 1))
            assert torch.equal(place.join(place.split(fused)), fused)
