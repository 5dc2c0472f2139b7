"""InternVL's prompts: image blocks, a sentence, and one of three chat templates."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.model.prompt import PromptBuilder
from pipeline.model.tokenizer import Tokenizer


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


class InternVLPrompts(PromptBuilder):
    """Prompts of one InternVL checkpoint: every image is ``<img>`` + its tokens + ``</img>``, then a line feed."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer, prompt_text: str) -> None:
        super().__init__(tokenizer, prompt_text)
        self.template = template

    def render(self, request: str, image_tokens: Sequence[int]) -> tuple[str, int]:
        """See :class:`PromptBuilder`."""
        images = "\n".join("<img>" + "<IMG_CONTEXT>" * count + "</img>" for count in image_tokens)
        head = f"{self.template.before}{images}\n"
        return f"{head}{request}{self.template.after}", len(head)

    def is_over(self, reply: Sequence[int]) -> bool:
        """See :class:`PromptBuilder`: the end token, or a text that ends with a stop word."""
        if not reply:
            return False
        if reply[-1] == self.tokenizer.eos_id:
            return True
        # stop words may be spelled in several tokens; a short tail is enough to see one
        tail = self.tokenizer.decode(reply[-16:]).replace("\r", "").replace("\n", "")
        return tail.endswith(self.template.stop_words)

    def end_of_reply(self) -> str:
        """See :class:`PromptBuilder`."""
        return self.template.stop_words[0]
