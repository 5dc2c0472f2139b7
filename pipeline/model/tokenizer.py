"""Text to token ids and back, exactly as the published tokenizers do it, without their remote code."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pipeline.errors import CheckpointError

SEG_TOKEN = "[SEG]"  # noqa: S105 - a word of the vocabulary


class Tokenizer(Protocol):
    """What inference needs of a tokenizer."""

    eos_id: int
    image_id: int
    seg_id: int

    def encode(self, text: str, literal: tuple[int, int] | None = None) -> list[int]:
        """Token ids of a prompt.

        Args:
            text: The prompt; control tokens in it are recognised.
            literal: Span of ``text`` that is a user's words: control tokens spelled there are plain text.
        """

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, control tokens kept."""


def open_tokenizer(
    kind: "type[ByteLevelTokenizer] | type[SentencePieceTokenizer]",
    directory: Path,
    control_tokens: Sequence[str],
    image_token: str,
) -> Tokenizer:
    """The tokenizer of a checkpoint directory.

    Args:
        kind: How its files are read.
        directory: The checkpoint.
        control_tokens: Tokens that the model needs; each must be in the vocabulary.
        image_token: The one of them that stands for one image token.

    Raises:
        CheckpointError: Files are missing or unreadable, or a control token is not in the vocabulary.
    """
    try:
        return kind(directory, control_tokens, image_token)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{directory}: the tokenizer cannot be loaded ({error})") from error


class _AddedTokens:
    """The control tokens on top of a vocabulary, and cutting a text at them."""

    def __init__(self, ids: dict[str, int], directory: Path, required: Sequence[str]) -> None:
        for token in required:
            if token not in ids:
                raise CheckpointError(
                    f"{directory}: the tokenizer has no {token} token; is this a Sa2VA or Sa2VA-i checkpoint?"
                )
        self.ids = ids
        # longest first, so that a token is not cut at one that is its beginning
        self._pattern = re.compile("|".join(re.escape(t) for t in sorted(ids, key=len, reverse=True)))

    def cut(self, text: str, literal: tuple[int, int] | None) -> list[tuple[str, int | None]]:
        """Pieces of ``text`` in order: ``(plain text, None)`` or ``(control token, id)``."""
        pieces: list[tuple[str, int | None]] = []
        position = 0
        start, end = literal or (0, 0)
        for match in self._pattern.finditer(text):
            if match.start() < end and match.end() > start:
                continue
            if match.start() > position:
                pieces.append((text[position : match.start()], None))
            pieces.append((match.group(), self.ids[match.group()]))
            position = match.end()
        if position < len(text):
            pieces.append((text[position:], None))
        return pieces


class ByteLevelTokenizer:
    """The Qwen2 family's byte-level BPE, by ``transformers``."""

    def __init__(self, directory: Path, control_tokens: Sequence[str], image_token: str) -> None:
        from transformers import Qwen2Tokenizer

        if not any((directory / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise CheckpointError(f"{directory}: no tokenizer files (tokenizer.json, or vocab.json and merges.txt)")
        self._tokenizer = Qwen2Tokenizer.from_pretrained(directory, local_files_only=True)
        self._added = _AddedTokens(self._tokenizer.get_added_vocab(), directory, control_tokens)
        self.eos_id = int(self._tokenizer.eos_token_id)
        self.image_id, self.seg_id = self._added.ids[image_token], self._added.ids[SEG_TOKEN]

    def encode(self, text: str, literal: tuple[int, int] | None = None) -> list[int]:
        """See :class:`Tokenizer`."""
        ids: list[int] = []
        for piece, control in self._added.cut(text, literal):
            if control is not None:
                ids.append(control)
            else:
                ids += self._tokenizer(piece, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """See :class:`Tokenizer`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


class SentencePieceTokenizer:
    """InternLM2's sentencepiece model with added tokens, some of which overlay unused pieces of the model.

    ``transformers`` 5 renumbers those, hence this class. Every prompt starts with ``<s>``; text between control tokens
    is encoded piece by piece.
    """

    def __init__(self, directory: Path, control_tokens: Sequence[str], image_token: str) -> None:
        import json

        from sentencepiece import SentencePieceProcessor

        path = directory / "tokenizer.model"
        if not path.is_file():
            raise CheckpointError(f"{directory}: no tokenizer.model")
        self._pieces = SentencePieceProcessor(model_file=str(path))
        config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
        added = {str(v["content"]): int(k) for k, v in config.get("added_tokens_decoder", {}).items()}
        extra = directory / "added_tokens.json"
        if extra.is_file():
            added |= {str(k): int(v) for k, v in json.loads(extra.read_text(encoding="utf-8")).items()}
        self._added = _AddedTokens(added, directory, control_tokens)
        self._token_of = {i: token for token, i in added.items()}
        self._bos = [added[config.get("bos_token", "<s>")]] if config.get("add_bos_token", True) else []
        self.eos_id = added[config.get("eos_token", "</s>")]
        self.image_id, self.seg_id = added[image_token], added[SEG_TOKEN]

    def encode(self, text: str, literal: tuple[int, int] | None = None) -> list[int]:
        """See :class:`Tokenizer`."""
        ids = list(self._bos)
        for piece, control in self._added.cut(text, literal):
            ids += [control] if control is not None else self._pieces.encode(piece)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """See :class:`Tokenizer`. Blanks stand around tokens beyond the model's own pieces, as in the reference."""
        parts: list[str] = []
        run: list[int] = []
        run_text = ""
        for i in ids:
            if i not in self._token_of:
                run.append(i)
                continue
            run_text += self._pieces.decode(run)
            run = []
            if i < self._pieces.get_piece_size():
                run_text += self._token_of[i]
            else:
                parts += [run_text] if run_text else []
                parts.append(self._token_of[i])
                run_text = ""
        run_text += self._pieces.decode(run)
        return " ".join([*parts, run_text] if run_text else parts)
