"""Messages between a decoder process and its owner: small JSON over a socket, pixels through shared memory.

JSON, because what a decoder process says after reading a hostile file must not be able to run code here.
"""

import json
import mmap
import os
import select
import socket
import tempfile
import time
from typing import Any, Self

import numpy as np

from pipeline.errors import (
    AccessDeniedError,
    NodeError,
    PipelineError,
    StorageError,
    StorageUnavailableError,
    UnreachableVideoError,
    VideoError,
)

Message = dict[str, Any]

_LENGTH_BYTES = 8


class HungUpError(Exception):
    """The process at the other end is gone."""


class Channel:
    """One end of the conversation. Messages arrive whole and in order."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, message: Message, timeout_s: float | None = None) -> None:
        """Send a message.

        Raises:
            TimeoutError: If the other end does not take it in time.
            HungUpError: If the other end is gone.
        """
        body = json.dumps(message).encode()
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(len(body).to_bytes(_LENGTH_BYTES) + body)
        except ConnectionError as error:
            raise HungUpError from error

    def receive(self, timeout_s: float | None = None) -> Message:
        """Wait for the next message.

        Raises:
            TimeoutError: If it has not come, whole, in time.
            HungUpError: If the other end is gone.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        length = int.from_bytes(self._exactly(_LENGTH_BYTES, deadline))
        message: Message = json.loads(self._exactly(length, deadline))
        return message

    def _exactly(self, count: int, deadline: float | None) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            if deadline is not None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                self._socket.settimeout(remaining)
            else:
                self._socket.settimeout(None)
            try:
                received = self._socket.recv_into(view)
            except ConnectionError as error:
                raise HungUpError from error
            if not received:
                raise HungUpError
            view = view[received:]
        return data

    def has_message(self) -> bool:
        """Whether ``receive`` would find something (or the end) at once."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def send_file(self, descriptor: int, timeout_s: float | None = None) -> None:
        """Hand an open file to the other process; raises as :meth:`send` does."""
        self._socket.settimeout(timeout_s)
        try:
            socket.send_fds(self._socket, [b"F"], [descriptor])
        except ConnectionError as error:
            raise HungUpError from error

    def receive_file(self) -> int:
        """Take an open file from the other process; the descriptor is the caller's to close.

        Raises:
            HungUpError: If the other end is gone.
        """
        self._socket.settimeout(None)
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        if not descriptors:
            raise HungUpError
        return descriptors[0]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


class FrameSlots:
    """Memory shared by the two processes, cut into slots of one frame each. It has no name, so nothing can be left."""

    def __init__(self, descriptor: int, count: int, height: int, width: int) -> None:
        """Map an open file of ``count * height * width * 3`` bytes; the descriptor may be closed afterwards."""
        memory = mmap.mmap(descriptor, count * height * width * 3)
        self.frames = np.frombuffer(memory, dtype=np.uint8).reshape(count, height, width, 3)

    @classmethod
    def receive(cls, channel: Channel, count: int, height: int, width: int) -> Self:
        """Map the file that the other process sends next."""
        descriptor = channel.receive_file()
        try:
            return cls(descriptor, count, height, width)
        finally:
            os.close(descriptor)

    @staticmethod
    def create_file(size_bytes: int) -> int:
        """A new anonymous file in memory (on disk where the system has none in memory)."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("video-frames")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, size_bytes)
        return descriptor


_FAILURES: dict[str, type[PipelineError]] = {
    kind.__name__: kind
    for kind in (
        VideoError,
        UnreachableVideoError,
        NodeError,
        StorageError,
        StorageUnavailableError,
        AccessDeniedError,
    )
}


def failure(message: Message) -> PipelineError:
    """The error that a "failed" message tells of, of the class that the child raised."""
    return _FAILURES.get(message["kind"], VideoError)(message["reason"])
