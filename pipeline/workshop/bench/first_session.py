"""The first half hour on a GPU as one command: six steps, each with its own time limit, and a table after each.

Each step is a process of its own, which writes what it has measured whenever there is something new. So a step that
hangs, crashes or takes too long leaves what it had, and the session goes on with the next one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.storage.atomic import replace_file
from pipeline.workshop.bench.session_table import session_table

SECONDS_TO_END = 5.0
"""What a step that is told to end is given before it is killed."""


@dataclass(frozen=True)
class StepPlan:
    """A step of the session.

    Attributes:
        name: As :mod:`pipeline.workshop.bench.session_steps` lists it.
        title: For the table.
        share: Of the session's time; what a step leaves over goes to those behind it.
    """

    name: str
    title: str
    share: float


PLAN = (
    StepPlan("parity", "the same masks as the CPU: float32 without TF32, then bfloat16; a golden case", 0.22),
    StepPlan("attention", "attention kernels: head 256 of memory attention, windows of head 72", 0.1),
    StepPlan("encoder", "image encoder: batches of 1, 2, 4, 8; eager, cast once, reduced throughout, compiled", 0.25),
    StepPlan("benchmark", "beside the published arrangement, with and without --compile", 0.28),
    StepPlan("profile", "20 frames of one expression: how long the device waits", 0.08),
    StepPlan("resize", "resizes on the device, bit for bit", 0.07),
)


@dataclass(frozen=True)
class Session:
    """What to run, and where its results go.

    Attributes:
        model: Checkpoint folder, or ``nano``.
        device: ``cuda``, ``cuda:1``; or ``cpu``, where every step runs at small sizes to show that it works.
        minutes: Of all steps together.
        output: Folder of ``first_session.json`` and ``first_session.md``.
        say: Gets a line for each step.
        command: Program of a step, to which its name, options and file are appended.
    """

    model: str
    device: str
    minutes: float
    output: Path
    say: Callable[[str], None]
    command: tuple[str, ...] = (sys.executable, "-m", "pipeline.workshop.bench.session_steps")

    def run(self) -> dict[str, Any]:
        """Run all steps; the results so far are on disk after each, and when it is interrupted.

        Raises:
            KeyboardInterrupt: As SIGINT and SIGTERM ask for; the step that was running is ended and kept as it was.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        report: dict[str, Any] = {"device": self.device, "model": self.model, "minutes": self.minutes, "steps": {}}
        end = time.monotonic() + 60 * self.minutes
        for number, step in enumerate(PLAN):
            share = step.share / sum(later.share for later in PLAN[number:])
            limit_s = max(1.0, (end - time.monotonic()) * share)
            self.say(f"{step.name}: {step.title} (at most {limit_s:.0f} s)")
            entry: dict[str, Any] = {"title": step.title}
            report["steps"][step.name] = entry
            try:
                self._run_step(step, limit_s, entry)
            finally:
                self._write(report)
            if "error" in entry:
                self.say(f"{step.name}: {entry['error']}")
        return report

    def _run_step(self, step: StepPlan, limit_s: float, entry: dict[str, Any]) -> None:
        file = self.output / f"{step.name}.json"
        file.unlink(missing_ok=True)
        log = self.output / f"{step.name}.log"
        command = [*self.command, step.name, "--device", self.device, "--model", self.model, "--output", str(file)]
        started = time.monotonic()
        with log.open("wb") as lines:
            process = subprocess.Popen(command, stdout=lines, stderr=lines, start_new_session=True)  # noqa: S603
            try:
                code = process.wait(limit_s)
                if code != 0:
                    entry["error"] = f"ended with {code}: {_last_line(log)}"
            except subprocess.TimeoutExpired:
                entry["error"] = f"took longer than its {limit_s:.0f} s; what it had measured is kept"
            except KeyboardInterrupt:
                entry["error"] = "interrupted; what it had measured is kept"
                raise
            finally:
                _end(process)
                entry["seconds"] = round(time.monotonic() - started, 1)
                entry["results"] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []

    def _write(self, report: dict[str, Any]) -> None:
        replace_file(self.output / "first_session.json", (json.dumps(report, indent=1) + "\n").encode())
        replace_file(self.output / "first_session.md", session_table(report).encode())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step's process and those it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "without a word"
