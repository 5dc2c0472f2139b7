"""A byte-level BPE tokenizer whose every grammar word is one token, in the files a Qwen2 checkpoint has.

Words it does not know still tokenise, as bytes.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.workshop.shapes.vocabulary import WORDS

# Order and names as in the published checkpoints.
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>",
    "</ref>", "<box>", "</box>", "[SEG]", "<p>", "</p>", "<vp>", "</vp>",
)  # fmt: skip
_EXTRA_WORDS = ("user", "assistant")
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_tokenizer(directory: Path) -> int:
    """Write ``tokenizer.json`` and its companions; returns the size of the vocabulary."""
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary, merges = _vocabulary()
    added = [
        {"id": len(vocabulary) + i, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for i, token in enumerate(SPECIAL_TOKENS)
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": _SPLIT}, "behavior": "Isolated", "invert": False},
                byte_level,
            ],
        },
        "post_processor": {**byte_level, "trim_offsets": False},
        "decoder": {**byte_level, "add_prefix_space": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": merges,
        },
    }  # fmt: skip
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added},
        "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    special = {k: settings[k] for k in ("additional_special_tokens", "eos_token", "pad_token")}
    _write(directory / "tokenizer.json", tokenizer)
    _write(directory / "tokenizer_config.json", settings)
    _write(directory / "special_tokens_map.json", special)
    _write(directory / "vocab.json", vocabulary)
    _write(directory / "added_tokens.json", {t["content"]: t["id"] for t in added})
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    return len(vocabulary) + len(added)


def _vocabulary() -> tuple[dict[str, int], list[str]]:
    """Bytes, then the merges that build every word, bare and behind a blank."""
    from tokenizers.pre_tokenizers import ByteLevel

    words = [*WORDS, *_EXTRA_WORDS]
    pieces = [ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)[0][0]
              for word in words for text in (word, " " + word)]  # fmt: skip
    vocabulary = {symbol: i for i, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    merges: list[str] = []
    rank: dict[tuple[str, str], int] = {}
    for piece in pieces:
        parts = _merge(list(piece), rank)
        # Words are learnt one after another: whatever the merges so far leave apart is joined from the left. Later
        # merges have higher ranks, so they never change how an earlier word comes together.
        while len(parts) > 1:
            pair = (parts[0], parts[1])
            rank[pair] = len(rank)
            merges.append(" ".join(pair))
            vocabulary.setdefault("".join(pair), len(vocabulary))
            parts = _merge(list(piece), rank)
    return vocabulary, merges


def _merge(parts: list[str], rank: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding: always the pair of the lowest rank, leftmost first."""
    while True:
        known = [(rank[pair], i) for i, pair in enumerate(pairwise(parts)) if pair in rank]
        if not known:
            return parts
        _, i = min(known)
        parts = [*parts[:i], parts[i] + parts[i + 1], *parts[i + 2 :]]


def _write(path: Path, values: Any) -> None:  # noqa: ANN401
    path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
