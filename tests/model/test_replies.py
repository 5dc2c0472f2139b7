"""Replies are those of greedy decoding, whatever else is asked in the same pass, before it, or how it is cut."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.model.families.base import ImageTokens
from pipeline.model.grounder import Grounding
from pipeline.model.sa2va import Sa2VA

torch.set_num_threads(1)
SHORT, LONG = "the dog", "the small red square that moves to the left behind the other one"


@pytest.fixture
def model(untrained: Path) -> Sa2VA:
    return Sa2VA.from_checkpoint(untrained)


@pytest.fixture
def images(model: Sa2VA) -> ImageTokens:
    torch.manual_seed(0)
    config = model.grounder.config
    count = config.tokens_per_tile
    return ImageTokens(embeds=torch.randn(2 * count, config.hidden_size), tokens=(count, count))


def close(one: Grounding, other: Grounding) -> None:
    assert one.answer == other.answer
    assert one.reply_ids == other.reply_ids
    torch.testing.assert_close(torch.from_numpy(one.prompts), torch.from_numpy(other.prompts), atol=1e-4, rtol=1e-4)
    assert one.seg_probabilities == pytest.approx(other.seg_probabilities, abs=1e-4)


@pytest.mark.parametrize("expressions", [[SHORT, LONG, SHORT], [LONG, LONG]], ids=["of two lengths", "equally long"])
@pytest.mark.parametrize("is_guessed", [True, False], ids=["guessed", "token by token"])
def test_together_as_alone(model: Sa2VA, images: ImageTokens, expressions: list[str], is_guessed: bool) -> None:
    replies = model.grounder.replies
    alone = [model.grounder.ground_tokens(images, [expression])[0] for expression in expressions]
    if not is_guessed:
        replies._candidates = [[1, 2]]
    before = replies.forward_passes
    together = model.grounder.ground_tokens(images, expressions)
    passes = replies.forward_passes - before
    assert passes == 2 if is_guessed else passes > 3
    for one, other in zip(alone, together, strict=True):
        close(one, other)


USUAL = ["Sure, [SEG].<|im_end|>", "Sure, object [SEG].<|im_end|>", "Sure, the thing is [SEG].<|im_end|>"]
"""Stand for the usual replies, whose words this small vocabulary spells in repeated bytes."""


@pytest.mark.parametrize("said", range(3))
def test_every_usual_reply_is_accepted_in_the_same_pass(model, images, said, monkeypatch):
    """One pass for the images, one for all replies, and the vectors that decoding gives."""
    tokenizer, replies = model.grounder.replies.prompts.tokenizer, model.grounder.replies
    replies._candidates = [tokenizer.encode(text) for text in USUAL]
    wanted = replies._candidates[said]
    monkeypatch.setattr(replies, "logits", _says(model, [tokenizer.encode("\n")[-1], *wanted]))
    before = replies.forward_passes
    accepted = model.grounder.ground_tokens(images, [SHORT, LONG])
    assert [one.reply_ids for one in accepted] == [wanted, wanted]
    assert replies.forward_passes - before == 2
    replies._candidates = [[1, 2]]
    for one, other in zip(accepted, model.grounder.ground_tokens(images, [SHORT, LONG]), strict=True):
        close(one, other)


def test_the_usual_replies_are_tried_most_frequent_first(model):
    prompts = model.grounder.replies.prompts
    assert [prompts.tokenizer.decode(ids) for ids in prompts.usual_replies()] == [
        "Sure, [SEG].<|im_end|>", "Sure, it is [SEG].<|im_end|>", "Sure, the segmentation result is [SEG].<|im_end|>",
    ]  # fmt: skip


def _says(model: Sa2VA, chain: list[int]):
    """Logits by which each token of ``chain`` is followed by the next one; the token is found from its state."""
    table = model.grounder.language_model.get_input_embeddings().weight
    known = torch.nn.functional.normalize(table[chain[:-1]].float(), dim=-1)

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        nearest = (torch.nn.functional.normalize(hidden.float(), dim=-1) @ known.T).argmax(-1)
        following = torch.tensor(chain[1:])[nearest]
        return 50.0 * torch.nn.functional.one_hot(following, len(table)).float()

    return logits


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nothing_depends_on_what_was_asked_before(untrained, images, dtype):
    """Two videos in both orders, the same bits."""
    other = replace(images, embeds=images.embeds.flip(0))

    def ground(*order: ImageTokens) -> list[list[Grounding]]:
        model = Sa2VA.from_checkpoint(untrained, dtype=dtype)
        return [model.grounder.ground_tokens(each, [SHORT, LONG]) for each in order]

    first, second = ground(images, other), ground(other, images)[::-1]
    for one, again in zip([g for v in first for g in v], [g for v in second for g in v], strict=True):
        assert one.reply_ids == again.reply_ids
        assert (one.prompts == again.prompts).all()


@pytest.mark.parametrize("is_guessed", [True, False], ids=["guessed", "token by token"])
def test_many_expressions_go_through_in_bounded_passes(model, images, is_guessed):
    replies = model.grounder.replies
    if not is_guessed:
        replies._candidates = [[1, 2]]
    expressions = [f"{LONG} {index}" for index in range(6)]
    at_once = model.grounder.ground_tokens(images, expressions)
    replies.tokens_per_pass = 80
    before = replies.forward_passes
    in_parts = model.grounder.ground_tokens(images, expressions)
    assert replies.forward_passes - before > 3
    for one, other in zip(at_once, in_parts, strict=True):
        close(one, other)


def test_out_of_memory_halves_the_expressions(model, images, monkeypatch):
    replies = model.grounder.replies
    expected = model.grounder.ground_tokens(images, [SHORT, LONG, SHORT])
    forward, sizes = replies.forward, []

    def small_device(**inputs):
        if "input_ids" in inputs:
            sizes.append(inputs["input_ids"].shape[1])
            if sizes[-1] > 60:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(**inputs)

    monkeypatch.setattr(replies, "forward", small_device)
    for one, other in zip(expected, model.grounder.ground_tokens(images, [SHORT, LONG, SHORT]), strict=True):
        close(one, other)
    assert max(sizes) > 60 > min(sizes)


def test_a_prompt_beyond_the_context_fails_alone(model, images):
    expressions = [SHORT, "a dog " * 5000, LONG]
    good, bad, also_good = model.grounder.ground_tokens(images, expressions)
    assert bad.error
    assert "shorten the expression" in bad.error
    assert good.error is None
    assert also_good.error is None
    close(good, model.grounder.ground_tokens(images, [SHORT])[0])


def test_a_reply_that_loops_is_cut_and_says_so(model, images, monkeypatch):
    grounder = model.grounder
    seg = grounder.replies.prompts.tokenizer.seg_id
    size = grounder.language_model.config.vocab_size
    only_seg = lambda hidden: torch.nn.functional.one_hot(torch.full(hidden.shape[:-1], seg), size).float()  # noqa: E731
    monkeypatch.setattr(grounder.replies, "logits", only_seg)
    (grounding,) = grounder.ground_tokens(images, [SHORT])
    assert len(grounding.prompts) == len(grounding.seg_probabilities) == 20
    assert len(grounding.reply_ids) == 21
    assert grounding.note == "Note: the answer names more than 20 objects; the first 20 are kept"


def test_the_beginning_is_held_once(model, images):
    replies = model.grounder.replies
    with torch.inference_mode():
        ids = replies.prompts.ids(SHORT, images.tokens)
        cache, following = replies._prefill(ids, images)
        packed = replies._packed(cache, following)
        for _ in range(8):
            packed.add([5])
        assert packed._cache.layers[0].keys.data_ptr() == cache.layers[0].keys.data_ptr()
        packed.run()
    assert cache.get_seq_length() == len(ids)
    assert packed._cache.get_seq_length() == len(ids) + 8
    assert packed._cache.layers[0].keys.shape[0] == 1


def test_a_question_beside_changes_no_bit_of_the_replies(model, images):
    question = "Is there {expression} in the video? Answer yes or no."
    plain = model.grounder.ground_tokens(images, [SHORT, LONG])
    asked = model.grounder.ground_tokens(images, [SHORT, LONG], presence_question=question)
    for one, other in zip(plain, asked, strict=True):
        assert one.reply_ids == other.reply_ids
        assert (one.prompts == other.prompts).all()
        assert one.yes_probability is None
        assert 0 <= other.yes_probability <= 1


def test_the_answer_is_that_of_the_question_alone(model, images):
    """Yes against no where the reply begins, from one plain pass over the whole prompt."""
    replies, language_model = model.grounder.replies, model.grounder.language_model
    question = "Is there {expression} in the video? Answer yes or no."
    asked = model.grounder.ground_tokens(images, [SHORT, LONG], presence_question=question)
    for text, grounding in zip([SHORT, LONG], asked, strict=True):
        ids = torch.tensor([replies.prompts.question_ids(question, text, images.tokens)])
        with torch.inference_mode():
            embeds = language_model.get_input_embeddings()(ids)
            embeds[ids == replies.prompts.tokenizer.image_id] = images.embeds
            logits = replies.logits(language_model.model(inputs_embeds=embeds).last_hidden_state[0, -1])
        yes, no = (logits[replies.prompts.first_ids(words)].exp().sum() for words in (("Yes", "yes"), ("No", "no")))
        assert grounding.yes_probability == pytest.approx(float(yes / (yes + no)), abs=1e-5)
