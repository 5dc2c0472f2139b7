"""A nano checkpoint with seeded random weights: the same files, names and code paths as a trained one.

Its language model is arranged to answer ``Sure, [SEG].`` to everything; its masks mean nothing.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipeline.model.checkpoint.weights import save_checkpoint
from pipeline.model.families import config_of
from pipeline.model.grounder import Grounder
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.workshop.nano.dimensions import config_json
from pipeline.workshop.nano.tokenizer import write_tokenizer

ANSWER = "Sure, [SEG].<|im_end|>"


def write_untrained(directory: Path, seed: int = 0, *, full_size_sam2: bool = False) -> Path:
    """Write an untrained nano checkpoint into ``directory`` (made if needed) and return it.

    Args:
        directory: Where to.
        seed: Of the weights.
        full_size_sam2: Give it a SAM 2 of the published size.
    """
    config = config_json(write_tokenizer(directory))
    if full_size_sam2:
        del config["grounding_config"]
    checked = config_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grounder = Grounder(checked)
        segmenter = Segmenter(checked.grounding, has_original=True)
        for module in (grounder, segmenter):
            _initialise(module)
        tokenizer = checked.family.load_tokenizer(directory, checked)
        _teach_answer(grounder.language_model, tokenizer.encode("\n" + ANSWER))
    save_checkpoint(directory, config, grounder, segmenter, torch.bfloat16)
    return directory


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Random numbers of a size that keeps activations and mask logits alive through every layer."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1 and "pos_embed" not in name:
            fan_in = parameter[0].numel()
            parameter.normal_(std=fan_in**-0.5)
        elif name.endswith(("lambda_1", "lambda_2", "gamma")):
            parameter.fill_(0.3)
        elif "norm" not in name and not name.endswith("bias"):
            parameter.normal_(std=0.2)
    for name, parameter in module.named_parameters():
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            parameter.fill_(4.0)  # judged present, so that masks are not blanked


@torch.no_grad()
def _teach_answer(model: PreTrainedModel, chain: list[int]) -> None:
    """Make each token of ``chain`` predict the next: attention and MLP only whisper, the head knows the successor."""
    decoder: Any = model.model
    for layer in decoder.layers:
        layer.self_attn.o_proj.weight.mul_(0.1)
        layer.mlp.down_proj.weight.mul_(0.1)
    embedding: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    head: Tensor = model.lm_head.weight
    head.mul_(0.01)
    for token, following in pairwise(chain):
        head[following] += embedding[token] / embedding[token].norm()
