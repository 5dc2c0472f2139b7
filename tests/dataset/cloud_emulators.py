"""Google Cloud Storage and Azure Blob Storage as real servers on this machine, with the same faulty proxy as S3's."""

import base64
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest

from tests.dataset.conftest import free_port

BUCKET = "bucket"
ACCOUNT, ACCOUNT_KEY = "testaccount", base64.b64encode(b"test-secret-account-key").decode()


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """One running server."""

    scheme: str
    """``gs`` or ``az``."""
    port: int

    def environment(self, port: int, *, account_key: str = ACCOUNT_KEY) -> dict[str, str]:
        """The variables by which a user names the storage, served at ``port`` (the server's, or a proxy's)."""
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
        return {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};"
            f"AccountKey={account_key};BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        }


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set the variables, for clients made from now on."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for scheme in ("gs", "az"):
        if importlib.util.find_spec({"gs": "gcsfs", "az": "adlfs"}[scheme]):
            fsspec.get_filesystem_class(scheme).clear_instance_cache()


@contextmanager
def google_cloud(folder: Path) -> Iterator[Emulator]:
    """gcp-storage-emulator, which serves the JSON API; skips where it or gcsfs is not installed."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed (pip install 'sa2va-i-pipeline[gcs]')")
    program = _program("gcp-storage-emulator", "pip install gcp-storage-emulator")
    port = free_port()
    command = [program, "start", "--host=127.0.0.1", f"--port={port}", "--in-memory", f"--default-bucket={BUCKET}"]
    with _running([*command, "--quiet"], folder, port):
        yield Emulator(scheme="gs", port=port)


@contextmanager
def azure(folder: Path) -> Iterator[Emulator]:
    """Microsoft's Azurite; skips where it or adlfs is not installed."""
    pytest.importorskip("adlfs", reason="adlfs is not installed (pip install 'sa2va-i-pipeline[azure]')")
    program = _program("azurite-blob", "npm install --global azurite")
    from azure.storage.blob import BlobServiceClient

    port = free_port()
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options]
    emulator = Emulator(scheme="az", port=port)
    with _running(command, folder, port, AZURITE_ACCOUNTS=f"{ACCOUNT}:{ACCOUNT_KEY}"):
        (connection,) = emulator.environment(port).values()
        with BlobServiceClient.from_connection_string(connection) as client:
            client.create_container(BUCKET)
        yield emulator


def _program(name: str, install: str) -> str:
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed ({install})")
    return found


@contextmanager
def _running(command: list[str], folder: Path, port: int, **variables: str) -> Iterator[None]:
    log = folder / "server.log"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}
    with log.open("wb") as sink:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()
