"""Sa2VA + SAM 2 -> Sa2VA-i: bit for bit what the same weights give in Sa2VA-i form, or a clear refusal."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import CheckpointError, UsageError
from pipeline.model.checkpoint.convert import convert
from pipeline.model.checkpoint.weights import CheckpointFiles
from pipeline.model.sa2va import Sa2VA
from tests.conftest import run_job
from tests.golden.variants import make_variant

PREFIX = "grounding_encoder.sam2_model."
MODIFIED = PREFIX + "sam_mask_decoder_modified."


def all_tensors(directory: Path) -> dict[str, torch.Tensor]:
    return {k: v for path in set(CheckpointFiles(directory).file_of.values()) for k, v in load_file(path).items()}


def assert_same(found: Path, expected: Path) -> None:
    found_tensors, expected_tensors = all_tensors(found), all_tensors(expected)
    assert found_tensors.keys() == expected_tensors.keys()
    for key, tensor in expected_tensors.items():
        assert found_tensors[key].dtype == tensor.dtype, key
        assert torch.equal(found_tensors[key], tensor), key


def sam2_weights(sa2va_i: Path) -> dict[str, torch.Tensor]:
    """The original SAM 2 in a Sa2VA-i checkpoint, as Meta publishes it."""
    tensors = load_file(sa2va_i / "model.safetensors")
    return {
        key.removeprefix(PREFIX).replace(".g_weight", ".gamma"): value.float()
        for key, value in tensors.items()
        if key.startswith(PREFIX) and not key.startswith(MODIFIED)
    }


@pytest.fixture
def sam2(untrained, tmp_path) -> Path:
    path = tmp_path / "sam2_hiera_large.pt"
    torch.save({"model": sam2_weights(untrained)}, path)
    return path


@pytest.fixture(scope="module")
def expected(untrained, tmp_path_factory) -> Path:
    """The Sa2VA-i checkpoint to arrive at: the original decoder is float32, as published."""
    directory = Path(shutil.copytree(untrained, tmp_path_factory.mktemp("expected") / "checkpoint"))
    tensors = load_file(directory / "model.safetensors")
    for key in tensors:
        if key.startswith(PREFIX + "sam_mask_decoder."):
            tensors[key] = tensors[key].float()
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.mark.parametrize("shards", [1, 3], ids=["single file", "sharded"])
def test_converted_equals_the_checkpoint_made_directly(shards, sa2va, sam2, expected, tmp_path, shard, frames):
    source = Path(shutil.copytree(sa2va, tmp_path / "source"))
    (source / "LICENSE").write_text("as it was")
    if shards > 1:
        shard(source, shards)
    convert(source, sam2, tmp_path / "new" / "result")
    result = tmp_path / "new" / "result"
    assert_same(result, expected)
    assert sorted(path.name for path in result.iterdir()) == sorted(path.name for path in source.iterdir())
    for name in ("config.json", "tokenizer.json", "LICENSE"):
        assert (result / name).read_bytes() == (source / name).read_bytes()
    assert list((tmp_path / "new").iterdir()) == [result]
    if shards > 1:
        index = json.loads((result / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(t.nbytes for t in all_tensors(result).values())
        assert index["weight_map"].keys() == all_tensors(result).keys()

    masks = [Sa2VA.from_checkpoint(d, device="cpu").segment(frames, ["the dog"])[0] for d in (result, expected)]
    assert masks[0] == masks[1]
    assert any(masks[0].tracks[0].masks)


def test_the_program_says_what_it_wrote(sa2va, sam2, tmp_path):
    done = run_job("convert", "--sa2va", sa2va, "--sam2", sam2, "--output", tmp_path / "result")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "result") in done.stdout


def test_an_existing_output_is_left_alone(sa2va, sam2, tmp_path):
    (tmp_path / "result").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        convert(sa2va, sam2, tmp_path / "result")
    assert not list((tmp_path / "result").iterdir())


def test_a_sa2va_i_checkpoint_is_refused(untrained, sam2, tmp_path):
    with pytest.raises(UsageError, match="is a Sa2VA-i checkpoint already"):
        convert(untrained, sam2, tmp_path / "result")


def _other_shape(state):
    state["sam_mask_decoder.iou_token.weight"] = torch.zeros(1, 99)


def _of_sam21(state):
    state["no_obj_embed_spatial"] = torch.zeros(1, 64)


def _without_decoder(state):
    del state["sam_mask_decoder.iou_token.weight"]


def _other_trunk(state):
    state["image_encoder.trunk.pos_embed"] = torch.zeros(1, 96, 7, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_other_shape, r"sam_mask_decoder.iou_token.weight has shape \(1, 99\)"),
        (_other_trunk, r"image_encoder.trunk.pos_embed has shape \(1, 96, 7, 7\)"),
        (_of_sam21, "no_obj_embed_spatial.*do not belong together"),
        (_without_decoder, "has no sam_mask_decoder.iou_token.weight"),
    ],
    ids=["decoder of another size", "trunk of another size", "SAM 2.1", "no decoder"],
)
def test_weights_that_do_not_belong_together_are_refused(change, message, sa2va, untrained, tmp_path):
    state = sam2_weights(untrained)
    change(state)
    torch.save({"model": state}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=message):
        convert(sa2va, tmp_path / "other.pt", tmp_path / "result")
    assert not (tmp_path / "result").exists()


class Executed:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    "content",
    [lambda p: None, lambda p: p.write_bytes(b"PK nonsense"), lambda p: p.write_bytes(b""),
     lambda p: torch.save({"model": Executed()}, p), lambda p: torch.save([1], p),
     lambda p: torch.save({"model": {"a": 1}}, p)],
    ids=["missing", "garbage", "empty", "code", "a list", "no tensors"],
)  # fmt: skip
def test_a_file_that_holds_no_weights_is_refused_and_not_executed(content, sa2va, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: ") as error:
        convert(sa2va, tmp_path / "x.pt", tmp_path / "result")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "x.pt"] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", ["qwen2", "internlm2"], ids=["single file", "sharded"])
def test_full_size_converter_test_of_the_golden_data(variant, tmp_path):
    source = make_variant(tmp_path, variant, 0, "sa2va", "bf16", "--sam2-pt", str(tmp_path / "B.pt"))
    convert(source, tmp_path / "B.pt", tmp_path / "result")
    direct = make_variant(tmp_path, variant)
    assert_same(tmp_path / "result", direct)
    companions = {path.name for path in direct.iterdir() if path.suffix != ".safetensors"}
    assert companions <= {path.name for path in (tmp_path / "result").iterdir()}
    for name in companions - {"model.safetensors.index.json"}:
        assert (tmp_path / "result" / name).read_bytes() == (direct / name).read_bytes()
    index = "model.safetensors.index.json"
    if index in companions:
        assert json.loads((tmp_path / "result" / index).read_text()) == json.loads((direct / index).read_text())
