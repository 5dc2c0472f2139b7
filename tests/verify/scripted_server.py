"""An OpenAI-compatible server that answers as a test wants, and remembers what it was asked."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image


@dataclass
class Question:
    """One request, taken apart."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str

    @property
    def model(self) -> str:
        return self.body["model"]

    @property
    def text(self) -> str:
        return self.body["messages"][0]["content"][0]["text"]

    @property
    def pictures(self) -> list[np.ndarray]:
        """uint8 RGB [H, W, 3] each."""
        urls = [part["image_url"]["url"] for part in self.body["messages"][0]["content"][1:]]
        assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in urls]


@dataclass
class Reply:
    """What to send back; ``content`` as a chat completion, or ``raw`` as it is."""

    content: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    logprobs: list[dict[str, Any]] | None = None
    after_s: float = 0.0
    drip_s: float = 0.0
    """Pause after every byte."""


@dataclass
class ScriptedServer:
    url: str
    questions: list[Question]


@contextmanager
def scripted_server(script: Callable[[Question], Reply]) -> Iterator[ScriptedServer]:
    asked: list[Question] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = Question(body, {name.lower(): value for name, value in self.headers.items()}, self.path)
            asked.append(question)
            reply = script(question)
            time.sleep(reply.after_s)
            data = reply.raw if reply.raw is not None else json.dumps(completion(reply)).encode()
            try:
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(data)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(data), 1 if reply.drip_s else len(data) or 1):
                    self.wfile.write(data[start : start + (1 if reply.drip_s else len(data))])
                    time.sleep(reply.drip_s)
            except OSError:
                self.close_connection = True  # whoever asked has given up

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield ScriptedServer(f"http://127.0.0.1:{server.server_port}/v1", asked)
    finally:
        server.shutdown()
        server.server_close()


def completion(reply: Reply) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice["message"] = {"role": "assistant", "content": reply.content}
    if reply.logprobs is not None:
        choice["logprobs"] = {"content": reply.logprobs}
    return {"id": "1", "object": "chat.completion", "choices": [choice]}
