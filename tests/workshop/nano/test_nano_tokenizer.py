"""The tokenizer's files: one token per grammar word, nothing unknown, loadable as any Qwen2 tokenizer."""

import json

import pytest

from pipeline.model.families import read_config
from pipeline.workshop.nano.dimensions import config_json
from pipeline.workshop.nano.tokenizer import SPECIAL_TOKENS, write_tokenizer
from pipeline.workshop.shapes import describe, sample_scenes
from pipeline.workshop.shapes.vocabulary import WORDS


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    size = write_tokenizer(path)
    (path / "config.json").write_text(json.dumps(config_json(size)))
    return path


def test_every_word_of_the_grammar_is_one_token(directory):
    config = read_config(directory)
    tokenizer = config.family.load_tokenizer(directory, config)
    assert [w for w in WORDS if len(tokenizer.encode(" " + w)) != 1] == []
    for expressions in describe(sample_scenes(20, seed=0)):
        for expression in expressions:
            assert len(tokenizer.encode(" " + expression.text)) == len(expression.text.split())


@pytest.mark.parametrize("text", ["Zebras über 12 Häuser", "日本語", "the reddish circlet", "\n\n  tabs\tand blanks "])
def test_unknown_words_survive_the_round_trip(directory, text):
    config = read_config(directory)
    tokenizer = config.family.load_tokenizer(directory, config)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_transformers_loads_it_from_the_directory_alone(directory):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    ids = tokenizer("<|im_start|>user\n<img><IMG_CONTEXT></img>[SEG]<|im_end|>").input_ids
    assert [tokenizer.convert_ids_to_tokens(i) for i in ids if i >= len(tokenizer) - len(SPECIAL_TOKENS)] == [
        "<|im_start|>", "<img>", "<IMG_CONTEXT>", "</img>", "[SEG]", "<|im_end|>"
    ]  # fmt: skip
    assert tokenizer.eos_token == "<|im_end|>"
    assert len(tokenizer) == json.loads((directory / "config.json").read_text())["llm_config"]["vocab_size"]
