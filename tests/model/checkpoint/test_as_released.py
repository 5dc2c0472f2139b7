"""Checkpoints as they are really published: float32 with a bfloat16 tower, old keys in config.json, odd pieces."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.model.checkpoint.convert import convert
from pipeline.model.checkpoint.names import SAM2_PREFIX
from pipeline.model.families.internvl import CONTROL_TOKENS, IMAGE_TOKEN
from pipeline.model.sa2va import Sa2VA, check_checkpoint
from pipeline.model.tokenizer import SentencePieceTokenizer
from tests.conftest import run_job

ASSETS = Path(__file__).parents[2] / "golden" / "assets"
MODIFIED = SAM2_PREFIX + "sam_mask_decoder_modified."


def as_released(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Float32 values that bfloat16 cannot hold, but for the vision tower, which is stored in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    stored = {}
    for key, value in tensors.items():
        noise = 1 + 1e-3 * torch.rand(value.shape, generator=generator)
        stored[key] = value.bfloat16() if key.startswith("vision_model.") else value.float() * noise
    return stored


@pytest.fixture(scope="module")
def released(sa2va: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = Path(shutil.copytree(sa2va, tmp_path_factory.mktemp("released") / "checkpoint"))
    tensors = as_released(load_file(directory / "model.safetensors"))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="module")
def sam2(released: Path, untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam2") / "sam2_hiera_large.pt"
    state = {
        key.removeprefix(SAM2_PREFIX).replace(".g_weight", ".gamma"): value.float()
        for key, value in load_file(untrained / "model.safetensors").items()
        if key.startswith(SAM2_PREFIX) and not key.startswith(MODIFIED)
    }
    torch.save({"model": state}, path)
    return path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_mixed_types_are_cast_to_the_one_that_is_computed_in(released, dtype):
    check_checkpoint(released)
    grounder = Sa2VA.from_checkpoint(released, device="cpu", dtype=dtype).grounder
    wanted = getattr(torch, dtype)
    assert {parameter.dtype for parameter in grounder.parameters()} == {wanted}
    stored = load_file(released / "model.safetensors")
    assert stored["vision_model.encoder.layers.0.mlp.fc1.weight"].dtype == torch.bfloat16
    assert stored["text_hidden_fcs.0.weight"].dtype == torch.float32
    loaded = grounder.text_hidden_fcs[0].weight
    assert torch.equal(loaded, stored["text_hidden_fcs.0.weight"].to(wanted))
    assert (dtype == "float32") == torch.equal(loaded.float(), stored["text_hidden_fcs.0.weight"])


def test_stored_in_bfloat16_equals_casting_at_load(released, sam2, tmp_path, frames):
    """Half the disk for the language side, and not one bit of a bfloat16 run changes."""
    convert(released, sam2, tmp_path / "as it is")
    convert(released, sam2, tmp_path / "small", dtype=torch.bfloat16)
    whole, small = (load_file(tmp_path / name / "model.safetensors") for name in ("as it is", "small"))
    assert whole.keys() == small.keys()
    for key, value in small.items():
        assert value.dtype == (whole[key].dtype if key.startswith(SAM2_PREFIX) else torch.bfloat16)
    models = [Sa2VA.from_checkpoint(tmp_path / n, device="cpu", dtype="bfloat16") for n in ("as it is", "small")]
    for one, other in zip(*(model.grounder.state_dict().items() for model in models), strict=True):
        assert one[0] == other[0]
        assert torch.equal(one[1], other[1]), one[0]
    one, other = (model.segment(frames, ["the square"])[0] for model in models)
    assert one == other


def test_the_program_stores_in_another_type(released, sam2, tmp_path):
    done = run_job(
        "convert", "--sa2va", released, "--sam2", sam2, "--output", tmp_path / "result", "--dtype", "float32"
    )
    assert done.returncode == 0, done.stderr
    language_side = {k: v for k, v in load_file(tmp_path / "result" / "model.safetensors").items() if "sam2" not in k}
    assert {value.dtype for value in language_side.values()} == {torch.float32}


GENERATION_ERA = {
    "_name_or_path": "work_dirs/model", "add_cross_attention": False, "bad_words_ids": None,
    "begin_suppress_tokens": None, "bos_token_id": 1, "chunk_size_feed_forward": 0, "decoder_start_token_id": None,
    "diversity_penalty": 0.0, "do_sample": False, "early_stopping": False, "exponential_decay_length_penalty": None,
    "finetuning_task": None, "forced_bos_token_id": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": False, "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0,
    "max_length": 20, "moe_config": None, "num_beams": 1, "output_attentions": True, "output_hidden_states": True,
    "output_scores": False, "pad_token_id": None, "prefix": None, "problem_type": None, "pruned_heads": {},
    "remove_invalid_values": False, "repetition_penalty": 1.0, "return_dict": False, "sep_token_id": None,
    "suppress_tokens": None, "task_specific_params": None, "temperature": 1.0, "tf_legacy_loss": False,
    "tie_encoder_decoder": False, "tokenizer_class": None, "top_k": 50, "top_p": None, "torchscript": False,
    "transformers_version": "4.37.2", "typical_p": 1.0, "use_bfloat16": True, "use_cache": False,
    "attn_implementation": "flash_attention_2",
}  # fmt: skip
"""What versions of ``transformers`` of 2024 wrote into every part of a config.json, computing nothing."""


def test_keys_of_earlier_transformers_change_nothing(copied, untrained, frames):
    values = json.loads((copied / "config.json").read_text())
    for part in ("llm_config", "vision_config"):
        values[part] = GENERATION_ERA | values[part]
    values["llm_config"] |= {key: GENERATION_ERA[key] for key in ("return_dict", "output_hidden_states", "use_cache")}
    (copied / "config.json").write_text(json.dumps(values | {"torchscript": False, "pruned_heads": {}}))
    check_checkpoint(copied)
    plain, found = (Sa2VA.from_checkpoint(d, device="cpu").segment(frames, ["the square"]) for d in (untrained, copied))
    assert plain == found


@pytest.fixture
def with_nul(tmp_path: Path) -> Path:
    """The small InternLM2 tokenizer with a NUL among its pieces, as the released one has (its piece 354)."""
    from sentencepiece import sentencepiece_model_pb2 as pb2

    directory = Path(shutil.copytree(ASSETS / "internlm2", tmp_path / "tokenizer"))
    model = pb2.ModelProto.FromString((directory / "tokenizer.model").read_bytes())
    unused = next(piece for piece in reversed(model.pieces) if piece.type == pb2.ModelProto.SentencePiece.NORMAL)
    unused.piece = "\0"
    (directory / "tokenizer.model").write_bytes(model.SerializeToString())
    return directory


def test_a_nul_piece_is_loaded(with_nul):
    plain = SentencePieceTokenizer(ASSETS / "internlm2", CONTROL_TOKENS, IMAGE_TOKEN)
    odd = SentencePieceTokenizer(with_nul, CONTROL_TOKENS, IMAGE_TOKEN)
    text = "<|im_start|>user\n<img><IMG_CONTEXT></img>\nPlease segment it.<|im_end|>"
    assert odd.encode(text) == plain.encode(text)
    assert odd.decode(odd.encode("Sure, [SEG].")) == plain.decode(plain.encode("Sure, [SEG]."))
