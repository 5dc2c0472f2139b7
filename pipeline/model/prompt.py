"""From an expression to the exact prompt the model was trained on, and when its reply is over."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.model.tokenizer import Tokenizer

DEFAULT_PROMPT = "Please segment {expression}."
QUESTION_PROMPT = " {expression} Please respond with a segmentation mask."
"""How the evaluation of the released models puts expressions that hold a question mark."""
PRESENCE_QUESTION = "Is there {expression} in the video? Answer yes or no."
"""What the language model is asked beside, to learn whether there is anything to segment."""
PLACEHOLDER = "{expression}"
USUAL_REPLIES = ("Sure, [SEG].", "Sure, it is [SEG].", "Sure, the segmentation result is [SEG].")
"""Replies that the training data taught, most frequent first: guesses to be verified, never trusted."""


class PromptBuilder(ABC):
    """Builds prompts for one checkpoint and recognises the end of its replies.

    Raises:
        UsageError: The prompt text does not hold ``{expression}`` exactly once.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_text: str = DEFAULT_PROMPT) -> None:
        check_prompt(prompt_text)
        self.tokenizer = tokenizer
        self.prompt_text = prompt_text

    @abstractmethod
    def render(self, request: str, image_tokens: Sequence[int]) -> tuple[str, int]:
        """The whole prompt, and where in it the request begins.

        Args:
            request: The sentence that asks, with the expression in it.
            image_tokens: Image tokens of each image block, in order; may be empty.
        """

    @abstractmethod
    def is_over(self, reply: Sequence[int]) -> bool:
        """Whether a reply (generated ids so far) ends here."""

    @abstractmethod
    def end_of_reply(self) -> str:
        """The control token, as text, that ends an ordinary reply."""

    def text(
        self, expression: str, image_tokens: Sequence[int], *, question_form: bool = False
    ) -> tuple[str, tuple[int, int]]:
        """The whole prompt, and the span of it that is the user's expression.

        Args:
            expression: As written; nothing is lower-cased or stripped.
            image_tokens: Image tokens of each image block.
            question_form: Put an expression with a question mark as :data:`QUESTION_PROMPT`, where the prompt text is
                the default one.
        """
        asks = question_form and "?" in expression and self.prompt_text == DEFAULT_PROMPT
        return self._fill(QUESTION_PROMPT if asks else self.prompt_text, expression, image_tokens)

    def _fill(self, prompt_text: str, expression: str, image_tokens: Sequence[int]) -> tuple[str, tuple[int, int]]:
        before, after = prompt_text.split(PLACEHOLDER, 1)
        text, start = self.render(f"{before}{expression}{after}", image_tokens)
        first = start + len(before)
        return text, (first, first + len(expression))

    def ids(self, expression: str, image_tokens: Sequence[int], *, question_form: bool = False) -> list[int]:
        """Token ids of :meth:`text`; control tokens spelled in the expression stay plain text."""
        return self.tokenizer.encode(*self.text(expression, image_tokens, question_form=question_form))

    def question_ids(self, question: str, expression: str, image_tokens: Sequence[int]) -> list[int]:
        """Token ids of a prompt that asks ``question`` (with ``{expression}`` in it) instead of for a mask."""
        return self.tokenizer.encode(*self._fill(question, expression, image_tokens))

    def first_ids(self, words: Sequence[str]) -> list[int]:
        """The different ids that replies beginning with one of ``words`` begin with."""
        start = len(self.tokenizer.encode(""))
        return sorted({self.tokenizer.encode(word)[start] for word in words})

    def usual_replies(self) -> list[list[int]]:
        """Ids of the replies that nearly every expression gets, each with its end."""
        start = len(self.tokenizer.encode(""))
        return [self.tokenizer.encode(text + self.end_of_reply())[start:] for text in USUAL_REPLIES]


def check_prompt(prompt_text: str) -> None:
    """Raise :class:`UsageError` unless ``prompt_text`` holds ``{expression}`` exactly once."""
    if prompt_text.count(PLACEHOLDER) != 1:
        raise UsageError(f"the prompt template must contain {PLACEHOLDER} exactly once, got {prompt_text!r}")
