"""The owner's hold on a decoder process: starting it, talking to it against a deadline, ending it."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import weakref
from collections import deque
from itertools import count
from pathlib import Path

from pipeline.errors import NodeError, VideoError
from pipeline.video.wire import Channel, HungUpError, Message

logger = logging.getLogger(__name__)

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]

_SECONDS_TO_LEAVE = 0.5

# Starting an interpreter is not the video's fault, and takes long on a busy machine.
_SECONDS_TO_START = 60.0


_CLUSTER_SECRET = re.compile(r"^RAY_AUTH")
_SECRET = re.compile(r"^RAY_AUTH|^AWS_|^AZURE_|^GOOGLE_|TOKEN|KEY|SECRET|PASSW|CREDENTIAL|CONNECTION_STRING")


class WorkerDiedError(VideoError):
    """The decoder process ended by itself."""


class Worker:
    """One decoder process. Once it has failed it stays ended; its owner makes another."""

    def __init__(self, timeout_s: float, opener: str, *, has_credentials: bool) -> None:
        """Start the process; it is ready when it answers the first message.

        Args:
            timeout_s: How long to wait for any answer.
            opener: ``module:function`` that opens videos there.
            has_credentials: Whether it inherits the keys of storage, which only reading from a store needs.
        """
        self._timeout_s = timeout_s
        self._has_started = False
        self._numbers = count()
        self._inbox: dict[int, deque[Message]] = {}
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise NodeError(f"cannot start a decoder process: {error}; raise ulimit -n") from error
        # A fresh interpreter, not a fork or multiprocessing's spawn: those would bring along the owner's threads and
        # locks, or run its main script again.
        command = [sys.executable, "-P", "-m", "pipeline.video.child", str(theirs.fileno()), str(timeout_s), opener]
        search_path = [str(_PACKAGE_ROOT), *(entry or str(Path.cwd()) for entry in sys.path)]
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - this very interpreter and package
                    command,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={**_environment(has_credentials=has_credentials), "PYTHONPATH": os.pathsep.join(search_path)},
                )
            except OSError as error:  # ENOMEM, EAGAIN, EMFILE: no program of ours is missing
                ours.close()
                raise NodeError(f"cannot start a decoder process: {error}; free memory or processes") from error
        self._channel = Channel(ours)
        self._finalizer = weakref.finalize(self, _end, self._process, self._channel)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process can still be talked to."""
        return self._finalizer.alive and self._process.poll() is None

    def new_conversation(self) -> int:
        """A number under which answers are kept until they are waited for."""
        number = next(self._numbers)
        self._inbox[number] = deque()
        return number

    def end_conversation(self, number: int) -> None:
        """Drop answers that have come and will come under a number."""
        self._inbox.pop(number, None)

    def send(self, message: Message, location: str, descriptor: int | None = None) -> None:
        """Send a request, with an open file if given.

        Raises:
            VideoError: Naming ``location``, if the process is gone or does not listen.
        """
        if not self._finalizer.alive:
            raise VideoError(f"{location}: its decoder process has ended; open the video again")
        try:
            self._channel.send(message, self._timeout_s)
            if descriptor is not None:
                self._channel.send_file(descriptor, self._timeout_s)
        except TimeoutError as error:
            raise self._killed(location, "the request") from error
        except HungUpError as error:
            raise self._died(location, "the request") from error

    def tell(self, message: Message) -> None:
        """Send a note that needs no answer. Whether it arrives shows at the next :meth:`wait_for`, which knows why."""
        if self._finalizer.alive:
            try:
                self._channel.send(message, self._timeout_s)
            except (TimeoutError, HungUpError):
                logger.debug("the decoder process does not listen, not told: %s", message)

    def wait_for(self, number: int, location: str, doing: str) -> Message:
        """The next answer under a number; signs of life start the deadline anew.

        Raises:
            VideoError: Naming ``location`` and what was ``doing``, if none comes in time or the process ends.
        """
        inbox = self._inbox[number]
        while not inbox:
            if not self._finalizer.alive:
                raise VideoError(f"{location}: its decoder process has ended; open the video again")
            try:
                patience_s = self._timeout_s if self._has_started else max(self._timeout_s, _SECONDS_TO_START)
                message = self._channel.receive(patience_s)
                self._has_started = True
            except TimeoutError as error:
                raise self._killed(location, doing) from error
            except HungUpError as error:
                raise self._died(location, doing) from error
            if message["event"] != "alive" and message["number"] in self._inbox:
                self._inbox[message["number"]].append(message)
        return inbox.popleft()

    def _killed(self, location: str, doing: str) -> VideoError:
        self._process.kill()
        self._finalizer()
        return VideoError(f"{location}: {doing} took more than {self._timeout_s:g} s; the decoder process was killed")

    def _died(self, location: str, doing: str) -> VideoError:
        self._finalizer()
        code = self._process.returncode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        hint = ", possibly out of memory" if code == -signal.SIGKILL else ""
        return WorkerDiedError(f"{location}: {doing} ended the decoder process ({how}{hint})")

    def stop(self) -> None:
        """End the process; harmless when repeated."""
        self._finalizer()


def _environment(*, has_credentials: bool) -> dict[str, str]:
    """What the process inherits: a hostile file that takes it over should find no secrets."""
    dropped = _CLUSTER_SECRET if has_credentials else _SECRET
    return {name: value for name, value in os.environ.items() if not dropped.search(name.upper())}


def _end(process: "subprocess.Popen[bytes]", channel: Channel) -> None:
    channel.close()  # an idle or decoding process leaves at the next look at its messages
    try:
        process.wait(_SECONDS_TO_LEAVE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
