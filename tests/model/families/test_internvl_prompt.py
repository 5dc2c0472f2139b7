"""The exact words that InternVL checkpoints were trained on, template by template."""

import pytest

from pipeline.model.families.internvl_prompt import TEMPLATES, InternVLPrompts
from pipeline.model.prompt import DEFAULT_PROMPT

IMAGES = "<img><IMG_CONTEXT><IMG_CONTEXT></img>\n<img><IMG_CONTEXT><IMG_CONTEXT></img>\n"
BEGINNINGS = {
    "qwen_chat": "<|im_start|>user\n",
    "internlm2_chat": "<|im_start|>user\n",
    "phi3_chat": "<|user|>\n",
}
ENDS = {
    "qwen_chat": "<|im_end|>\n<|im_start|>assistant\n",
    "internlm2_chat": "<|im_end|>\n<|im_start|>assistant\n",
    "phi3_chat": "<|end|>\n<|assistant|>\n",
}


class Spelling:
    """A tokenizer of characters; enough for what is tested here."""

    eos_id, image_id, seg_id = 0, 1, 2

    def encode(self, text, literal=None):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))


def prompts(template: str, prompt_text: str = DEFAULT_PROMPT) -> InternVLPrompts:
    return InternVLPrompts(TEMPLATES[template], Spelling(), prompt_text)


def test_every_template_is_held_here():
    assert set(TEMPLATES) == set(BEGINNINGS) == set(ENDS)


@pytest.mark.parametrize("template", BEGINNINGS)
def test_a_statement(template):
    text, (start, end) = prompts(template).text("the Dog ", [2, 2])
    assert text == f"{BEGINNINGS[template]}{IMAGES}Please segment the Dog .{ENDS[template]}"
    assert text[start:end] == "the Dog "


@pytest.mark.parametrize("template", BEGINNINGS)
def test_a_question_in_the_original_procedure(template):
    text, (start, end) = prompts(template).text("which dog barks?", [2, 2], question_form=True)
    asked = " which dog barks? Please respond with a segmentation mask."
    assert text == f"{BEGINNINGS[template]}{IMAGES}{asked}{ENDS[template]}"
    assert text[start:end] == "which dog barks?"


@pytest.mark.parametrize(
    ("expression", "question_form", "prompt_text"),
    [("the dog", True, DEFAULT_PROMPT), ("which?", False, DEFAULT_PROMPT), ("which?", True, "Mark {expression}")],
    ids=["no question mark", "the Sa2VA-i procedure", "words of the user's own"],
)
def test_everything_else_is_a_statement(expression, question_form, prompt_text):
    text, _ = prompts("qwen_chat", prompt_text).text(expression, [2], question_form=question_form)
    assert f"\n{prompt_text.replace('{expression}', expression)}<|im_end|>" in text


@pytest.mark.parametrize(
    ("template", "reply", "is_over"),
    [
        ("qwen_chat", "Sure.<|im_end|>", True),
        ("qwen_chat", "Sure.<|endoftext|>", True),
        ("internlm2_chat", "Sure.<|endoftext|>", False),
        ("phi3_chat", "Sure.<|end|>", True),
        ("phi3_chat", "Sure.<|en\nd|>", True),
        ("phi3_chat", "Sure.<|end|", False),
        ("qwen_chat", "", False),
    ],
)
def test_where_a_reply_ends(template, reply, is_over):
    assert prompts(template).is_over([ord(letter) for letter in reply]) is is_over
