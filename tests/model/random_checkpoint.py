"""A checkpoint of a published size with random weights: its names, shapes and dtypes, sharded, small in memory."""

import gzip
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.model.families import config_of
from pipeline.workshop.nano.tokenizer import write_tokenizer
from pipeline.workshop.nano.untrained import ANSWER

KEYS = Path(__file__).parent.parent / "golden" / "keys"
ORIGINAL = "grounding_encoder.sam2_model.sam_mask_decoder."


def write_random_checkpoint(directory: Path, size: str, shards: int) -> int:
    """Write it (bfloat16, the original mask decoder float32); return the size of the largest shard in bytes.

    Its language model (Qwen2 only) answers ``Sure, [SEG].``; its masks mean nothing.
    """
    write_tokenizer(directory)
    config = json.loads(gzip.decompress((KEYS / f"{size}.config.json.gz").read_bytes()))
    checked = config_of(config)
    chain = checked.family.load_tokenizer(directory, checked).encode("\n" + ANSWER)
    embedded: torch.Tensor | None = None
    (directory / "config.json").write_text(json.dumps(config))
    shapes = json.loads(gzip.decompress((KEYS / f"{size}.keys.json.gz").read_bytes()))
    names, weight_map, sizes = list(shapes), {}, []
    per_shard = -(-sum(torch.Size(shape).numel() for shape in shapes.values()) // shards)
    generator = torch.Generator().manual_seed(0)
    for number in range(shards):
        part, count = {}, 0
        while names and (count < per_shard or number == shards - 1):
            name = names.pop(0)
            part[name] = _values(name, shapes[name], generator)
            count += part[name].numel()
            if name == "language_model.model.embed_tokens.weight":
                embedded = part[name][chain].float()
            elif name == "language_model.lm_head.weight":
                assert embedded is not None
                part[name] *= 0.01
                part[name][chain[1:]] += (embedded / embedded.norm(dim=1, keepdim=True))[:-1].to(torch.bfloat16)
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, directory / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
        sizes.append((directory / file).stat().st_size)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return max(sizes)


def _values(name: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    dtype = torch.float32 if name.startswith(ORIGINAL) else torch.bfloat16
    if len(shape) == 1:
        return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=dtype)
    # the layers only whisper, so that each token of the answer predicts the next whatever was said before
    scale = 0.02 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
    values = torch.empty(shape, dtype=dtype)
    return values.normal_(std=scale * torch.Size(shape[1:]).numel() ** -0.5, generator=generator)
