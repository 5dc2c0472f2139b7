"""Replies together are replies alone, padded or not, proposed or decoded token by token."""

from pathlib import Path

import pytest
import torch

from pipeline.model.grounder import Grounding
from pipeline.model.sa2va import Sa2VA

torch.set_num_threads(1)
SHORT, LONG = "the dog", "the small red square that moves to the left behind the other one"


@pytest.fixture(scope="module")
def model(untrained: Path) -> Sa2VA:
    return Sa2VA.from_checkpoint(untrained)


@pytest.fixture(scope="module")
def tokens(model: Sa2VA) -> torch.Tensor:
    torch.manual_seed(0)
    config = model.grounder.config
    return torch.randn(2, config.tokens_per_tile, config.language["hidden_size"])


def close(one: Grounding, other: Grounding) -> None:
    assert one.answer == other.answer
    assert one.reply_ids == other.reply_ids
    torch.testing.assert_close(torch.from_numpy(one.prompts), torch.from_numpy(other.prompts), atol=1e-4, rtol=1e-4)
    assert one.seg_probabilities == pytest.approx(other.seg_probabilities, abs=1e-4)


@pytest.mark.parametrize("expressions", [[SHORT, LONG, SHORT], [LONG, LONG]], ids=["padded", "equally long"])
@pytest.mark.parametrize("is_guessed", [True, False], ids=["guessed", "token by token"])
def test_together_as_alone(model: Sa2VA, tokens: torch.Tensor, expressions: list[str], is_guessed: bool) -> None:
    replies = model.grounder.replies
    usual = replies.prompts.usual_reply()
    alone = []
    for expression in expressions:
        replies.proposal = usual
        alone += model.grounder.ground_tokens(tokens, [expression])
    replies.proposal = usual if is_guessed else [usual[0], usual[0]]
    before = replies.forward_passes
    together = model.grounder.ground_tokens(tokens, expressions)
    passes = replies.forward_passes - before
    assert passes == 2 if is_guessed else passes > 3
    for one, other in zip(alone, together, strict=True):
        close(one, other)


def test_the_prefix_is_not_copied_before_it_grows(model: Sa2VA, tokens: torch.Tensor) -> None:
    replies = model.grounder.replies
    with torch.inference_mode():
        ids = replies.prompts.ids(SHORT, [1, 1])
        cache = replies._prefill(ids, tokens.flatten(0, 1))
        rows = replies._rows(cache, 8)
        assert rows.layers[0].keys.data_ptr() == cache.layers[0].keys.data_ptr()
        assert rows.get_seq_length() == len(ids)
        replies._step(rows, len(ids), [[5]] * 8)
        assert cache.get_seq_length() == len(ids)
        assert rows.get_seq_length() == len(ids) + 1
