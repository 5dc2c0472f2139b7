"""verify against a real OpenAI-compatible server: `transformers serve` with a small model of random weights."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from drawn_dataset import LEFT, RIGHT, square
from test_verify import settings, verdicts

from pipeline.verify.run import verify
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("transformers.cli.serve", reason="this transformers has no `transformers serve`")
    from transformers.utils.import_utils import is_serve_available

    if not is_serve_available():
        pytest.skip("`transformers serve` needs fastapi, openai and uvicorn")
    from random_vlm import write_random_vlm

    return write_random_vlm(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="module")
def endpoint(model, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("serve") / "log.txt").open("w")
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=Path(log.name).parent)
    try:
        until = time.monotonic() + 180
        while not _is_up(port):
            assert server.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < until, Path(log.name).read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait(30)
        log.close()


def _is_up(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except httpx2.TransportError:
        return False


def test_every_row_is_judged_as_the_model_itself_says(dataset, model, endpoint):
    result = verify(str(dataset), settings(endpoint=[endpoint], verifier=[str(model)], frames=2, max_tokens=1))
    assert (result.judged, result.failed) == (5, 0)
    found = verdicts(dataset)
    for row in found.values():
        assert row["votes"][0]["answer"] == ("yes" if row["verdict"] else "no")
        assert not row["votes"][0]["from_logprobs"]  # this server has none
        assert row["votes"][0]["answer"] == answer_of(model, row)
    assert {row["verdict"] for row in found.values()} == {0.0, 1.0}  # so it depends on what was shown and asked


def answer_of(model, row) -> str:
    """What the model answers when it is loaded here and shown the same frames."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from pipeline.masks import encode_masks
    from pipeline.verify.pictures import data_urls

    numbers = [int(name) for name in row["frames"]]
    masks = [encode_masks(square(LEFT, number)[None])[0] if row["outlined"] else None for number in numbers]
    content = [{"type": "text", "text": row["prompt"]}]
    content += [{"type": "image", "url": url} for url in data_urls([drawn(number) for number in numbers], masks)]
    processor = AutoProcessor.from_pretrained(model)
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    loaded = AutoModelForImageTextToText.from_pretrained(model)
    with torch.inference_mode():
        ids = loaded.generate(**inputs, max_new_tokens=1, do_sample=False)
    return processor.decode(ids[0, -1:]).strip()


def drawn(number: int) -> np.ndarray:
    picture = np.full((60, 80, 3), 90, np.uint8)
    picture[square(LEFT, number)] = (30, 60, 200)
    picture[square(RIGHT, number)] = (30, 200, 60)
    return picture
