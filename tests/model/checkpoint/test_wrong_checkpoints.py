"""Damaged and foreign checkpoints: one clear line, exit code 3, before Ray starts."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pipeline.config import RunConfig
from pipeline.engine import cluster
from pipeline.errors import CheckpointError
from pipeline.model.sa2va import check_checkpoint
from pipeline.run import annotate
from tests.conftest import run_job


def edit_json(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        values = json.loads((directory / name).read_text())
        change(values)
        (directory / name).write_text(json.dumps(values))

    return damage


def edit_tensors(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        change(tensors)
        save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})

    return damage


def overwrite(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_bytes(change((directory / name).read_bytes())) and None


def without_seg(directory: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"):
        text = (directory / name).read_text(encoding="utf-8").replace("[SEG]", "[GES]")
        (directory / name).write_text(text, encoding="utf-8")


def without_tokenizer(directory: Path) -> None:
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (directory / name).unlink()


WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HUGE_HEADER = struct.pack("<Q", 1 << 40)
DAMAGES = {
    "no config.json": (lambda d: (d / "config.json").unlink(), "config.json"),
    "config.json is not JSON": (overwrite("config.json", lambda _: b"{"), "config.json"),
    "config.json is a list": (overwrite("config.json", lambda _: b"[]"), "config.json"),
    "another architecture": (
        edit_json("config.json", lambda c: c.update(architectures=["LlavaForCausalLM"])),
        "LlavaForCausalLM",
    ),
    "another language model": (
        edit_json("config.json", lambda c: c["llm_config"].update(model_type="gpt2")),
        "'gpt2' is not supported",
    ),
    "another template": (edit_json("config.json", lambda c: c.update(template="vicuna_v9")), "vicuna_v9"),
    "no hidden size": (edit_json("config.json", lambda c: c["llm_config"].pop("hidden_size")), "config.json"),
    "a hidden size that is text": (
        edit_json("config.json", lambda c: c["vision_config"].update(hidden_size="big")),
        "config.json",
    ),
    "another hidden size": (
        edit_json("config.json", lambda c: c["llm_config"].update(intermediate_size=351)),
        "does not fit",
    ),
    "another SAM 2 size": (
        edit_json("config.json", lambda c: c["grounding_config"].update(trunk_stages=[1, 2, 2, 1])),
        WEIGHTS,
    ),
    "no weights": (lambda d: (d / WEIGHTS).unlink(), "no *.safetensors"),
    "corrupt header": (overwrite(WEIGHTS, lambda b: b[:8] + b"\xff" * 64 + b[72:]), WEIGHTS),
    "absurd header length": (overwrite(WEIGHTS, lambda b: HUGE_HEADER + b[8:]), WEIGHTS),
    "cut short": (overwrite(WEIGHTS, lambda b: b[: len(b) // 2]), WEIGHTS),
    "empty": (overwrite(WEIGHTS, lambda b: b""), WEIGHTS),
    "a tensor missing": (edit_tensors(lambda t: t.pop("text_hidden_fcs.0.weight")), "text_hidden_fcs.0.weight"),
    "a tensor of another model": (
        edit_tensors(lambda t: t.update({"visual.proj": t["text_hidden_fcs.0.bias"].clone()})),
        "visual.proj",
    ),
    "no [SEG]": (without_seg, "no [SEG] token"),
    "no tokenizer": (without_tokenizer, "tokenizer"),
    "tokenizer is not JSON": (overwrite("tokenizer.json", lambda _: b"{"), "tokenizer"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_one_clear_line(damage, expected, copied):
    damage(copied)
    with pytest.raises(CheckpointError) as error:
        check_checkpoint(copied)
    message = str(error.value)
    assert error.value.exit_code == 3
    assert expected in message
    assert str(copied) in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda d: (d / "model-00002-of-00003.safetensors").unlink(), "model-00002-of-00003.safetensors: missing"),
        (lambda d: (d / "model.safetensors.index.json").write_text("{}"), "index.json: cannot be read"),
        (
            edit_json(INDEX, lambda i: i["weight_map"].update(x=min(i["weight_map"].values()))),
            "lists tensors that no file holds: x",
        ),
        (overwrite("model-00003-of-00003.safetensors", lambda b: b[:-100]), "model-00003-of-00003.safetensors"),
    ],
    ids=["missing shard", "index without map", "index promises too much", "shard cut short"],
)  # fmt: skip
def test_a_damaged_sharded_checkpoint_is_one_clear_line(damage, expected, copied, shard):
    shard(copied, 3)
    check_checkpoint(copied)
    damage(copied)
    with pytest.raises(CheckpointError) as error:
        check_checkpoint(copied)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_the_checkpoint_is_checked_before_a_cluster_is_touched(copied, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "connect", lambda _: pytest.fail("Ray was asked for"))
    without_seg(copied)
    row = {"video_id": "a", "video": "a.mp4", "expression_id": "0", "expression": "the dog"}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    with pytest.raises(CheckpointError, match="SEG"):
        annotate(RunConfig(manifest=str(tmp_path / "m.jsonl"), model=str(copied), output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_the_program_ends_with_code_3_and_one_line(copied, tmp_path):
    shutil.copyfile("/dev/null", copied / WEIGHTS)
    (tmp_path / "m.jsonl").write_text('{"video_id":"a","video":"a.mp4","expression_id":"0","expression":"x"}')
    result = run_job("annotate", "--manifest", tmp_path / "m.jsonl", "--model", copied, "--output", tmp_path / "out")
    assert result.returncode == 3
    assert len(result.stderr.strip().splitlines()) == 1
    assert WEIGHTS in result.stderr
