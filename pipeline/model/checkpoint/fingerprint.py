"""A hash of every byte of a checkpoint that decides masks, the same on every machine, and quick to ask for again."""

import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.model.checkpoint.fetch_once import MODEL_FILES, cache_directory

BLOCK = 64 << 20
"""Bytes that one thread hashes at a time; part of how a fingerprint is defined."""
CHUNK = 4 << 20
"""Bytes read at once."""
MAX_THREADS = 8
REMEMBERED_FROM = 1 << 20
"""Size in bytes from which a file's hash is remembered; smaller files are hashed each time."""
CHANGES_NO_MASK = {"presence.json"}
"""Files beside a checkpoint that an output is not bound to: the calibration of ``presence``."""
SETTLED_AFTER_S = 2.0
"""A file that changed more recently is not remembered, since clocks of file systems are coarse."""


def fingerprint(directory: Path) -> str:
    """A hash of the names and contents of a checkpoint's files: configuration, weights, tokenizer, chat template.

    Files of other kinds (licences, pictures, code) do not count. Large files are hashed in parallel; their hashes are
    kept in a file of the user's cache folder and used again while path, size, inode and times of a file are the same.

    Raises:
        OSError: A file cannot be read.
    """
    paths = sorted({path for pattern in MODEL_FILES for path in directory.glob(pattern) if path.is_file()})
    paths = [path for path in paths if path.name not in CHANGES_NO_MASK]
    known = _remembered()
    fresh: dict[str, tuple[list[int], str]] = {}
    digest = hashlib.sha256()
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as threads:
        for path in paths:
            real, state = str(path.resolve()), _state(path)
            content = known[real][1] if real in known and known[real][0] == state else None
            if content is None:
                content = _hash_of(path, state[0], threads)
                if state[0] >= REMEMBERED_FROM and state == _state(path) and _is_settled(state):
                    fresh[real] = (state, content)
            digest.update(f"{path.name}\0{state[0]}\0{content}\0".encode())
    if fresh:
        _remember(fresh)
    return digest.hexdigest()


def sampled_fingerprint(directory: Path) -> str:
    """What outputs with schema version 1 are bound to: weight files counted by their size, beginning, and samples.

    Two models that differ only between the samples have the same one, so nothing new is bound to it.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix not in {".json", ".safetensors", ".model", ".txt"} or path.name in CHANGES_NO_MASK:
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            if path.suffix != ".safetensors":
                digest.update(file.read())
                continue
            digest.update(file.read(1 << 20))
            for offset in range(1 << 20, size, 32 << 20):
                file.seek(offset)
                digest.update(file.read(64 << 10))
    return digest.hexdigest()


def _state(path: Path) -> list[int]:
    """What changes when a file does: size, inode, and times of content and of inode in nanoseconds."""
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _is_settled(state: list[int]) -> bool:
    return time.time_ns() - max(state[2], state[3]) > SETTLED_AFTER_S * 1e9


def _hash_of(path: Path, size: int, threads: ThreadPoolExecutor) -> str:
    """The hash of the hashes of a file's blocks."""
    blocks = threads.map(lambda start: _hash_of_block(path, start), range(0, size, BLOCK))
    return hashlib.sha256(b"".join(blocks)).hexdigest()


def _hash_of_block(path: Path, start: int) -> bytes:
    digest, left = hashlib.sha256(), BLOCK
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (data := file.read(min(CHUNK, left))):
            digest.update(data)
            left -= len(data)
    return digest.digest()


def _cache_file() -> Path:
    return cache_directory() / "fingerprints.json"


def _remembered() -> dict[str, tuple[list[int], str]]:
    """State and hash of files by path; empty where there is no usable cache."""
    try:
        values = json.loads(_cache_file().read_text(encoding="utf-8"))
        return {str(path): (list(state), str(content)) for path, (state, content) in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(fresh: dict[str, tuple[list[int], str]]) -> None:
    """Add to the cache. A full disk or another process that writes at once costs no more than hashing again."""
    kept = {path: entry for path, entry in _remembered().items() if Path(path).exists()}
    target = _cache_file()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".tmp", delete=False) as file:
            json.dump(kept | fresh, file)
        Path(file.name).replace(target)
    except OSError:
        return
