"""What every training stage shares: schedule, resumable state on disk, and a log of numbers."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

LOG = logging.getLogger(__name__)
_WARM_UP = 100
_SMOOTH = 0.98


@dataclass(frozen=True, kw_only=True)
class StageSettings:
    """How long and how fast one stage trains."""

    name: str
    directory: Path
    """Receives ``NAME.safetensors`` (weights and optimiser, for resuming) and ``NAME.jsonl`` (the log)."""
    steps: int
    learning_rate: float
    decay_from: float = 0.4
    """Share of the steps after which the rate falls linearly to a fiftieth."""
    log_every: int = 50
    save_every: int = 200
    weight_decay: float = 0.02
    clip: float = 1.0
    threads: int = 1


def learning_rate_factor(step: int, steps: int, decay_from: float) -> float:
    """Linear warm-up, constant, linear decay to 0.02."""
    warm = min(1.0, (step + 1) / min(_WARM_UP, max(steps // 5, 1)))
    start = decay_from * steps
    return warm * (1.0 if step < start else 0.02 + 0.98 * (steps - step) / max(steps - start, 1.0))


def train_stage(
    settings: StageSettings,
    module: nn.Module,
    compute: Callable[[int], tuple[Tensor, Mapping[str, float]]],
    *,
    slower: Mapping[str, float] | None = None,
    validate: Callable[[], Mapping[str, float]] | None = None,
    validate_every: int = 1000,
) -> nn.Module:
    """Train ``module`` for the stage's steps, going on from its saved state where there is one.

    Args:
        settings: Name, length, rates.
        module: Everything that is trained; parameters without ``requires_grad`` stay as they are.
        compute: Step number to (loss, numbers for the log). Must draw its data from the step number alone, so that a
            resumed run sees what an uninterrupted one would have seen.
        slower: Parameter-name prefix to a factor on its learning rate.
        validate: Called now and then without gradients; its numbers go to the log.
        validate_every: Steps between validations; the last step always validates.
    """
    settings.directory.mkdir(parents=True, exist_ok=True)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(_groups(trained, settings, slower or {}), betas=(0.9, 0.98))
    base_rates = [group["lr"] for group in optimizer.param_groups]
    state_path = settings.directory / f"{settings.name}.safetensors"
    first = _resume(state_path, module, optimizer)
    smooth: dict[str, float] = {}
    began = time.monotonic()
    with (settings.directory / f"{settings.name}.jsonl").open("a", encoding="utf-8") as log:
        for step in range(first, settings.steps):
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * learning_rate_factor(step, settings.steps, settings.decay_from)
            loss, numbers = compute(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(trained.values(), settings.clip)
            if torch.isfinite(norm):
                optimizer.step()
            seen = {"loss": float(loss.detach()), "norm": float(norm), **numbers}
            for key, value in ((k, v) for k, v in seen.items() if math.isfinite(v)):
                smooth[key] = value if key not in smooth else _SMOOTH * smooth[key] + (1 - _SMOOTH) * value
            last = step + 1 == settings.steps
            if (step + 1) % settings.log_every == 0 or last:
                _write(log, {"step": step + 1, "seconds": time.monotonic() - began, **smooth})
            if validate is not None and ((step + 1) % validate_every == 0 or last):
                module.eval()
                with torch.no_grad():
                    _write(log, {"step": step + 1, "validation": dict(validate())})
                module.train()
            if (step + 1) % settings.save_every == 0 or last:
                _save(state_path, module, optimizer, step + 1)
    return module


def _write(log: TextIO, values: Mapping[str, object]) -> None:
    line = json.dumps(values, default=float)
    log.write(line + "\n")
    log.flush()
    LOG.info("%s", line)


def _groups(
    trained: Mapping[str, Tensor], settings: StageSettings, slower: Mapping[str, float]
) -> list[dict[str, object]]:
    """Weight decay for matrices only; slower rates by prefix."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in trained.items():
        factor = next((value for prefix, value in slower.items() if name.startswith(prefix)), 1.0)
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": settings.learning_rate * factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def _flat(optimizer: torch.optim.Optimizer, by_id: Mapping[int, str]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for parameter, values in optimizer.state.items():
        name = by_id[id(parameter)]
        state |= {f"optimizer/{name}/{key}": value for key, value in values.items()}
    return state


def _save(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write atomically: a run that is killed while saving resumes from the state before."""
    by_id = {id(p): name for name, p in module.named_parameters()}
    tensors = {f"model/{key}": value.contiguous() for key, value in module.state_dict().items()}
    tensors |= _flat(optimizer, by_id)
    temporary = path.with_suffix(".tmp")
    save_file({key: value.detach().clone() for key, value in tensors.items()}, temporary, metadata={"step": str(step)})
    temporary.rename(path)


def _resume(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.is_file():
        return 0
    tensors = load_file(path)
    module.load_state_dict({key[6:]: value for key, value in tensors.items() if key.startswith("model/")})
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            name, _, leaf = key.removeprefix("optimizer/").rpartition("/")
            # AdamW counts its steps on the CPU.
            optimizer.state[parameters[name]][leaf] = value if leaf == "step" else value.to(parameters[name].device)
    return steps_done(path)


def steps_done(path: Path) -> int:
    """Steps behind a saved state; 0 if there is none."""
    if not path.is_file():
        return 0
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return int(file.metadata()["step"])


def load_stage(path: Path, module: nn.Module, prefix: str = "") -> None:
    """Load the weights (not the optimiser) of a stage into ``module``; ``prefix`` picks a part of it."""
    tensors = load_file(path)
    start = f"model/{prefix}"
    module.load_state_dict({key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
