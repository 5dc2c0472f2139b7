"""Prompts of the Qwen-VL families: the chat template that is in the checkpoint directory, with one image per keyframe.

A template is a program of a stranger. ``transformers`` renders it in jinja2's immutable sandbox, where it has no access
to files, modules or the objects around it, and it never gets to see a user's words: it is rendered once around a mark.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from pipeline.errors import CheckpointError
from pipeline.model.prompt import PromptBuilder
from pipeline.model.tokenizer import Tokenizer

IMAGE_TOKEN = "<|image_pad|>"  # noqa: S105 - a word of the vocabulary
_MARK = "\ue000request\ue000"
"""Stands for the request while a template is rendered; private-use characters, which no template writes."""
_SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class QwenPrompts(PromptBuilder):
    """Prompts of one checkpoint.

    Args:
        directory: Where its chat template is.
        tokenizer: Its tokenizer.
        prompt_text: Asks for a mask; ``{expression}`` stands for the expression.
        stop_ids: Tokens that end a reply.

    Raises:
        CheckpointError: There is no template, or it does not put images and text as a Qwen-VL template does.
    """

    def __init__(self, directory: Path, tokenizer: Tokenizer, prompt_text: str, stop_ids: Collection[int]) -> None:
        super().__init__(tokenizer, prompt_text)
        self._template, self._origin = read_template(directory)
        self._special_tokens = _special_tokens(directory)
        self._stop_ids = frozenset(stop_ids)
        self._frames: dict[int, tuple[str, str]] = {}
        self._frame(1)

    def render(self, request: str, image_tokens: Sequence[int]) -> tuple[str, int]:
        """See :class:`PromptBuilder`."""
        before, after = self._frame(len(image_tokens))
        first, *others = before.split(IMAGE_TOKEN)
        blocks = [IMAGE_TOKEN * count + text for count, text in zip(image_tokens, others, strict=True)]
        head = "".join([first, *blocks])
        return head + request + after, len(head)

    def is_over(self, reply: Sequence[int]) -> bool:
        """See :class:`PromptBuilder`: at a stop token, whatever the text says."""
        return bool(reply) and reply[-1] in self._stop_ids

    def end_of_reply(self) -> str:
        """See :class:`PromptBuilder`."""
        return self.tokenizer.decode([min(self._stop_ids)])

    def _frame(self, images: int) -> tuple[str, str]:
        """What the template puts before and after the request, with one ``<|image_pad|>`` per image."""
        if images not in self._frames:
            self._frames[images] = self._rendered(images)
        return self._frames[images]

    def _rendered(self, images: int) -> tuple[str, str]:
        # the line feed is what remains of the reference's "<image>\n" before the request
        content: list[dict[str, str]] = [{"type": "image", "image": "keyframe"} for _ in range(images)]
        content.append({"type": "text", "text": "\n" + _MARK})
        try:
            text = _render(self._template, [{"role": "user", "content": content}], self._special_tokens)
        except (TemplateError, ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{self._origin}: the chat template cannot be rendered ({reason})") from error
        before, *after = text.split(_MARK)
        if len(after) != 1 or before.count(IMAGE_TOKEN) != images or IMAGE_TOKEN in after[0]:
            raise CheckpointError(
                f"{self._origin}: the chat template does not put {images} image(s) before one text; "
                f"a template of Qwen2.5-VL or Qwen3-VL does"
            )
        return before, after[0]


def _render(template: str, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered: Any = render_jinja_template(
        [messages], chat_template=template, add_generation_prompt=True, **dict(variables)
    )
    texts, _ = rendered
    return str(texts[0])


def read_template(directory: Path) -> tuple[str, Path]:
    """The chat template of a checkpoint directory, and the file it is from.

    Looked for where ``transformers`` looks: ``chat_template.jinja``, ``chat_template.json``, ``tokenizer_config.json``.

    Raises:
        CheckpointError: There is none, or the file is damaged.
    """
    plain = directory / "chat_template.jinja"
    if plain.is_file():
        try:
            return plain.read_text(encoding="utf-8"), plain
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{plain}: cannot be read ({error})") from error
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _read_json(directory / name).get("chat_template")
        if isinstance(template, list):  # several, by name
            named = {entry["name"]: entry["template"] for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        if isinstance(template, str):
            return template, directory / name
    raise CheckpointError(f"{directory}: no chat template (chat_template.jinja, or in tokenizer_config.json)")


def _special_tokens(directory: Path) -> dict[str, str]:
    """Those that a template may write by name."""
    values = _read_json(directory / "tokenizer_config.json")
    found = {name: values.get(name) for name in _SPECIAL_TOKENS}
    spelled = {name: value["content"] if isinstance(value, dict) else value for name, value in found.items()}
    return {name: value for name, value in spelled.items() if isinstance(value, str)}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
    return values if isinstance(values, dict) else {}
