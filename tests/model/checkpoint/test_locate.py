"""--model: what it may name, fetched once, completely, and from then on without a network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from pipeline.errors import CheckpointError, PipelineError
from pipeline.model.checkpoint import fetch_url
from pipeline.model.checkpoint.fetch_once import fetch_once
from pipeline.model.checkpoint.fingerprint import fingerprint
from pipeline.model.checkpoint.locate import fetch_model, find_model, pin_model
from pipeline.model.sa2va import check_checkpoint

CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SA2VA_I_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def remote(untrained):
    """The untrained checkpoint behind a URL, with things in it that must not be fetched."""
    fs = fsspec.filesystem("memory")
    fs.put(f"{untrained}/", "/models/small/", recursive=True)
    fs.pipe_file("/models/small/modeling_sa2va_chat.py", b"raise SystemExit('executed')")
    fs.pipe_file("/models/small/pytorch_model.bin", b"pickle")
    yield "memory://models/small"
    fs.rm("/models", recursive=True)


def test_a_local_directory_is_used_where_it_is(untrained, monkeypatch):
    assert fetch_model(pin_model(str(untrained))) == untrained.resolve()
    assert fetch_model(pin_model(f"file://{untrained}")) == untrained.resolve()
    monkeypatch.chdir(untrained.parent)
    assert fetch_model(pin_model(untrained.name)) == untrained.resolve()


@pytest.mark.parametrize("model", ["/no/such/place", "./a/b", "what?", "gopher://x/y", "memory://nothing/here"])
def test_what_is_not_there_is_named_in_one_line(model):
    with pytest.raises(PipelineError, match=r"no such|cannot open") as error:
        pin_model(model)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
    assert model in str(error.value)


def test_a_url_is_fetched_once_and_later_needs_no_network(remote, untrained, monkeypatch):
    model = pin_model(remote)
    assert find_model(model) is None
    directory = fetch_model(model)
    check_checkpoint(directory)
    assert fingerprint(directory) == fingerprint(untrained)
    assert not list(directory.glob("*.py")) + list(directory.glob("*.bin"))

    monkeypatch.setattr(fetch_url, "open_filesystem", None)  # whoever asks the storage now, fails
    assert find_model(model) == directory
    assert fetch_model(model) == directory


def test_another_content_at_the_same_url_is_another_model(remote, untrained):
    first = fetch_model(pin_model(remote))
    changed = json.loads((untrained / "config.json").read_text()) | {"template": "phi3_chat"}
    fsspec.filesystem("memory").pipe_file("/models/small/config.json", json.dumps(changed).encode())
    second = fetch_model(pin_model(remote))
    assert json.loads((first / "config.json").read_text())["template"] == "qwen_chat"
    assert json.loads((second / "config.json").read_text())["template"] == "phi3_chat"


def test_an_interrupted_fetch_is_not_taken_for_a_model(remote, untrained):
    model = pin_model(remote)
    place = fetch_model(model)
    place.with_name(place.name + ".done").unlink()
    weights = (untrained / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    (place / "tokenizer.json").unlink()
    (place / "config.json.part").write_text("{")
    assert find_model(model) is None
    assert fetch_model(model) == place
    assert fingerprint(place) == fingerprint(untrained)
    assert not list(place.glob("*.part"))


def test_a_damaged_cache_is_fetched_again(remote, untrained):
    place = fetch_model(pin_model(remote))
    os.truncate(place / "model.safetensors", 1000)
    assert fetch_model(pin_model(remote)) == place
    assert fingerprint(place) == fingerprint(untrained)


def test_an_incomplete_model_at_the_source_is_refused_and_not_marked(remote, cache):
    index = {"weight_map": {"mlp1.0.weight": "model-00002-of-00002.safetensors"}}
    fsspec.filesystem("memory").pipe_file("/models/small/model.safetensors.index.json", json.dumps(index).encode())
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.safetensors: missing"):
        fetch_model(pin_model(remote))
    assert not list(cache.rglob("*.done"))


def test_a_disk_too_small_is_found_out_before_anything_is_copied(remote, cache, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match=r"GB left; set SA2VA_I_CACHE"):
        fetch_model(pin_model(remote))
    assert not list(cache.rglob("*.safetensors"))


def test_a_cache_that_cannot_be_written_says_which_variable_to_set(remote, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SA2VA_I_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="SA2VA_I_CACHE"):
        fetch_model(pin_model(remote))


FETCHER = """
import sys, time
from pathlib import Path
from pipeline.model.checkpoint import fetch_url
from pipeline.model.checkpoint.locate import fetch_model, pin_model
real = fetch_url.download
def slow(*arguments):
    Path(sys.argv[2]).open("a").write("x")
    time.sleep(1)
    return real(*arguments)
fetch_url.download = slow
print(fetch_model(pin_model(sys.argv[1])))
"""


def test_two_processes_at_once_fetch_once(untrained, tmp_path):
    counted = tmp_path / "fetches"
    command = [sys.executable, "-c", FETCHER, f"local://{untrained}", str(counted)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    places = [process.communicate(timeout=200)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert places[0] == places[1]
    assert counted.read_text() == "x"
    assert fingerprint(Path(places[0])) == fingerprint(untrained)


def test_a_killed_fetcher_leaves_no_lock(cache, untrained):
    def dies(place):
        (place / "half").write_text("")
        os._exit(9)

    child = os.fork()
    if child == 0:
        fetch_once("a/model", "1", dies)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert fetch_once("a/model", "1", lambda _: untrained) == untrained


HUB = """
import sys
from pipeline.errors import PipelineError
from pipeline.model.checkpoint.locate import fetch_model, pin_model
try:
    model = pin_model(sys.argv[1])
    print(model, fetch_model(model))
except PipelineError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def _hub(model: str, home: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", HUB, model],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": CLOSED, **environment},
    )


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}], ids=["nothing answers", "offline by choice"])
def test_the_hub_without_a_network_says_what_to_do(environment, tmp_path):
    result = _hub("kumuji/Sa2VA-i-1B", tmp_path, **environment)
    assert result.returncode == 3, result.stderr
    assert len(result.stdout.splitlines()) == 1
    assert "hf download kumuji/Sa2VA-i-1B --local-dir DIR" in result.stdout


def test_a_hub_model_fetched_before_works_without_a_network(untrained, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    kept = tmp_path / "hub" / "models--kumuji--Sa2VA-i-1B"
    shutil.copytree(untrained, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    result = _hub("kumuji/Sa2VA-i-1B", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.strip() == f"kumuji/Sa2VA-i-1B@{commit} {kept / 'snapshots' / commit}"
