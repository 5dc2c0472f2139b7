"""A fingerprint covers every byte of a checkpoint, is the same everywhere, and is not computed twice."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.model.checkpoint import fingerprint as module
from pipeline.model.checkpoint.fingerprint import fingerprint, sampled_fingerprint


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SA2VA_I_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "SETTLED_AFTER_S", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    read = module._hash_of_block
    monkeypatch.setattr(module, "_hash_of_block", lambda path, start: (names.append(path.name), read(path, start))[1])
    return names


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("share", [0.0, 0.13, 0.37, 0.5, 0.71, 0.999])
def test_one_bit_anywhere_in_the_weights_counts(copied, share, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1 << 18)  # so that this small file has many
    weights = copied / "model.safetensors"
    before = fingerprint(copied)
    flip(weights, int(share * weights.stat().st_size))
    assert fingerprint(copied) != before


def test_a_change_that_keeps_size_and_time_of_the_content_counts(copied):
    weights = copied / "model.safetensors"
    before, status = fingerprint(copied), weights.stat()
    flip(weights, status.st_size // 2)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint(copied) != before


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "merges.txt", "chat_template.jinja", "spm.model"])
def test_configuration_tokenizer_and_chat_template_count(copied, name):
    (copied / "chat_template.jinja").write_text("{{ messages }}")
    (copied / "spm.model").write_text("pieces")
    before = fingerprint(copied)
    (copied / name).write_bytes((copied / name).read_bytes() + b" ")
    assert fingerprint(copied) != before


def test_it_is_the_same_elsewhere_and_beside_other_files(copied, tmp_path, monkeypatch):
    before = fingerprint(copied)
    copy = Path(shutil.copytree(copied, tmp_path / "copy"))
    (copy / "README.md").write_text("what it is")
    (copy / "modeling.py").write_text("print()")
    monkeypatch.setenv("SA2VA_I_CACHE", str(tmp_path / "another cache"))
    assert fingerprint(copy) == before


def test_large_files_are_hashed_once(copied, hashed, cache):
    before = fingerprint(copied)
    assert "model.safetensors" in hashed
    hashed.clear()
    assert fingerprint(copied) == before
    assert "model.safetensors" not in hashed
    (cache / "fingerprints.json").write_text("{ damaged")
    assert fingerprint(copied) == before
    assert "model.safetensors" in hashed


def test_a_file_that_has_just_changed_is_not_remembered(copied, hashed, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_AFTER_S", 3600.0)
    (copied / "model.safetensors").touch()
    fingerprint(copied)
    hashed.clear()
    fingerprint(copied)
    assert "model.safetensors" in hashed


def test_a_cache_that_cannot_be_written_does_no_harm(copied, cache):
    cache.write_text("a file where the folder should be")
    assert fingerprint(copied) == fingerprint(copied)


def test_blocks_of_a_file_do_not_commute(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    for name, content in (("one", b"aaaabbbb"), ("other", b"bbbbaaaa")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "other")


def test_a_calibration_of_presence_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(tmp_path)
    (tmp_path / "presence.json").write_text('{"weights": {"bias": 1}}')
    assert fingerprint(tmp_path) == before
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert fingerprint(tmp_path) != before


def test_what_outputs_of_the_first_schema_are_bound_to_is_still_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.md").write_text("not counted")
    (tmp_path / "model.safetensors").write_bytes(bytes(range(256)) * (40 << 12))
    assert (
        sampled_fingerprint(tmp_path) == "627dcfc2a031b4045e5f5476cdb23db232d375053ecb8bfb9396433325a2cfb5"
    )  # by that release
