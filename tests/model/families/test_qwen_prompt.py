"""Prompts from the chat template of a checkpoint directory, which is a stranger's program."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import CheckpointError
from pipeline.model.families.qwen_prompt import QwenPrompts
from pipeline.model.prompt import DEFAULT_PROMPT
from pipeline.model.sa2va import check_checkpoint

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"
PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for c in m.content %}{% if c.type == 'image' %}" + IMAGE + "{% else %}{{ c.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\\n' }}"
)
STOP = 3


class Spelling:
    """A tokenizer of characters; enough for what is tested here."""

    eos_id, image_id, seg_id = STOP, 1, 2

    def encode(self, text, literal=None):
        return [ord(letter) for letter in text]

    def decode(self, ids):
        return "<|im_end|>" if list(ids) == [STOP] else "".join(map(chr, ids))


def prompts(folder: Path, template: str | None = PLAIN, prompt_text: str = DEFAULT_PROMPT) -> QwenPrompts:
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return QwenPrompts(folder, Spelling(), prompt_text, [STOP])


@pytest.mark.parametrize(
    ("variant", "beginning"),
    [("qwen3_vl", ""), ("qwen2_5_vl", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")],
    ids=["no system message", "a system message"],
)
def test_words_around_the_expression_are_those_of_the_directory(variant, beginning, vl_checkpoint, tmp_path):
    shutil.copyfile(vl_checkpoint(variant) / "chat_template.jinja", tmp_path / "chat_template.jinja")
    text, (start, end) = prompts(tmp_path, None).text("the Dog ", [1, 1])
    assert text == f"{beginning}<|im_start|>user\n{IMAGE}{IMAGE}\nPlease segment the Dog .{ASSISTANT}"
    assert text[start:end] == "the Dog "


def test_a_question_keeps_its_blank_behind_the_line_feed(tmp_path):
    text, (start, end) = prompts(tmp_path).text("which dog?", [1], question_form=True)
    assert f"{IMAGE}\n which dog? Please respond with a segmentation mask.<|im_end|>" in text
    assert text[start:end] == "which dog?"


def test_every_image_has_its_own_number_of_tokens(tmp_path):
    text, _ = prompts(tmp_path).text("it", [2, 3])
    blocks = [f"<|vision_start|>{'<|image_pad|>' * count}<|vision_end|>" for count in (2, 3)]
    assert text.startswith("<|im_start|>user\n" + "".join(blocks) + "\nPlease segment it.")


@pytest.mark.parametrize("expression", ["{{ 7 * 7 }}", "<|image_pad|>", "{% raw %}", "a\ue000b"], ids=str)
def test_an_expression_is_never_rendered(expression, tmp_path):
    text, (start, end) = prompts(tmp_path).text(expression, [2])
    assert text[start:end] == expression
    assert text[:start].count("<|image_pad|>") == 2


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: (folder / "chat_template.json").write_text(json.dumps({"chat_template": PLAIN})),
        lambda folder: (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": PLAIN})),
        lambda folder: (folder / "tokenizer_config.json").write_text(
            json.dumps({"chat_template": [{"name": "tools", "template": ""}, {"name": "default", "template": PLAIN}]})
        ),
    ],
    ids=["a file of its own", "with the tokenizer", "one of several"],
)
def test_a_template_is_found_where_releases_have_it(write, tmp_path):
    write(tmp_path)
    assert prompts(tmp_path, None).text("it", [1])[0].endswith(f"Please segment it.{ASSISTANT}")


def test_a_template_may_write_special_tokens_by_name(tmp_path):
    named = {"eos_token": {"content": "<|im_end|>"}, "pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(named))
    text, _ = prompts(tmp_path, PLAIN.replace("<|im_end|>", "{{ eos_token }}")).text("it", [1])
    assert text.endswith(f"Please segment it.{ASSISTANT}")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{% if %}", "cannot be rendered"),
        ("{{ raise_exception('not for you') }}", "not for you"),
        ("{{ messages.append(1) }}", "cannot be rendered"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "cannot be rendered"),
        ("{{ cycler.__init__.__globals__.os.system('touch executed') }}", "cannot be rendered"),
        ("{% include '/etc/passwd' %}", "cannot be rendered"),
        ("{% for i in range(1000000000) %}{% endfor %}", "cannot be rendered"),
        ("{{ messages[0].content[-1].text }}", r"does not put 1 image\(s\) before one text"),
        (PLAIN + PLAIN, r"does not put 1 image\(s\) before one text"),
        (PLAIN + IMAGE, r"does not put 1 image\(s\) before one text"),
    ],
    ids=[
        "none",
        "damaged",
        "refuses",
        "changes",
        "digs",
        "executes",
        "reads",
        "endless",
        "no image",
        "twice",
        "behind",
    ],
)
def test_a_template_that_is_not_one_is_refused_and_harms_nothing(template, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message) as error:
        prompts(tmp_path, template)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_reply_ends_at_the_stop_token_and_nowhere_else(tmp_path):
    ready = prompts(tmp_path)
    assert ready.is_over([70, STOP])
    assert not ready.is_over([ord(letter) for letter in "<|im_end|>"])
    assert not ready.is_over([])
    assert ready.end_of_reply() == "<|im_end|>"


def test_a_checkpoint_with_such_a_template_is_refused_before_a_run(qwen, tmp_path):
    copy = Path(shutil.copytree(qwen, tmp_path / "copy"))
    (copy / "chat_template.jinja").write_text("{{ nothing }}")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja"):
        check_checkpoint(copy)
