"""From an expression to the exact prompt the model was trained on, and when its reply is over."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import CheckpointError, UsageError
from pipeline.model.tokenizer import IMAGE_END, IMAGE_START, IMAGE_TOKEN, Tokenizer

DEFAULT_PROMPT = "Please segment {expression}."
PLACEHOLDER = "{expression}"


@dataclass(frozen=True)
class ChatTemplate:
    """The user/assistant part of a chat template (the system part is never used) and its stop words."""

    before: str
    after: str
    stop_words: tuple[str, ...]


_CHATML = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
TEMPLATES = {
    "qwen_chat": ChatTemplate(*_CHATML, ("<|im_end|>", "<|endoftext|>")),
    "internlm2_chat": ChatTemplate(*_CHATML, ("<|im_end|>",)),
    # used by the published 4B although its tokenizer knows these words as ordinary text only
    "phi3_chat": ChatTemplate("<|user|>\n", "<|end|>\n<|assistant|>\n", ("<|end|>",)),
}


class PromptBuilder:
    """Builds prompts for one checkpoint and recognises the end of its replies.

    Raises:
        CheckpointError: the checkpoint names a chat template that is not known.
        UsageError: the prompt text has no ``{expression}``.
    """

    def __init__(self, template: str, tokenizer: Tokenizer, tokens_per_tile: int, prompt: str = DEFAULT_PROMPT) -> None:
        if template not in TEMPLATES:
            raise CheckpointError(f"chat template {template!r} is not known (known: {', '.join(sorted(TEMPLATES))})")
        check_prompt(prompt)
        self.template = TEMPLATES[template]
        self.tokenizer = tokenizer
        self.tokens_per_tile = tokens_per_tile
        self.prompt = prompt

    def text(self, expression: str, blocks: Sequence[int]) -> tuple[str, tuple[int, int]]:
        """The whole prompt, and the span of it that is the user's expression.

        Args:
            expression: As written; nothing is lower-cased or stripped.
            blocks: Tiles in each image block: ``[1] * K`` for K keyframes, ``[n]`` for an image of n tiles.
        """
        images = "\n".join(IMAGE_START + IMAGE_TOKEN * (self.tokens_per_tile * tiles) + IMAGE_END for tiles in blocks)
        before, after = self.prompt.split(PLACEHOLDER, 1)
        head = f"{self.template.before}{images}\n{before}"
        return f"{head}{expression}{after}{self.template.after}", (len(head), len(head) + len(expression))

    def ids(self, expression: str, blocks: Sequence[int]) -> list[int]:
        """Token ids of the whole prompt; control tokens spelled in the expression stay plain text."""
        text, literal = self.text(expression, blocks)
        return self.tokenizer.encode(text, literal)

    def is_over(self, reply: Sequence[int]) -> bool:
        """Whether a reply (generated ids so far) ends here: end token, or its text ends with a stop word."""
        if not reply:
            return False
        if reply[-1] == self.tokenizer.eos_id:
            return True
        # stop words may be spelled in several tokens; a short tail is enough to see one
        tail = self.tokenizer.decode(reply[-16:]).replace("\r", "").replace("\n", "")
        return tail.endswith(self.template.stop_words)

    def usual_reply(self) -> list[int]:
        """The reply nearly every expression gets, as ids: a guess to be verified, never trusted."""
        text = "Sure, [SEG]." + self.template.stop_words[0]
        ids = self.tokenizer.encode(text)
        bos = self.tokenizer.encode("")
        return ids[len(bos) :]


def check_prompt(prompt: str) -> None:
    """Raise :class:`UsageError` unless ``prompt`` holds ``{expression}`` exactly once."""
    if prompt.count(PLACEHOLDER) != 1:
        raise UsageError(f"the prompt template must contain {PLACEHOLDER} exactly once, got {prompt!r}")
