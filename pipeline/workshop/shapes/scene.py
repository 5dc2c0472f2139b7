"""What there is in a batch of clips and how it moves: no pixels.

Everything is drawn for the whole batch at once, because training asks for thousands of clips a minute. Time is
0..1 over a clip whatever its number of frames; x runs 0..1 over the width, y over the height; radii are shares of the
height.
"""

import math
from dataclasses import dataclass, fields

import torch

from pipeline.workshop.shapes.vocabulary import COLOUR_NAMES, COLOURS, MAX_OBJECTS, MOTIONS, SHAPES, SIZES, Split

NUM_CANDIDATES = 6
"""Paths drawn per object; the one that keeps the most distance from the objects already placed is taken."""

_GRID = 21
_TRAIN_SEED_SPACE, _TEST_SEED_SPACE = 0, 1
LEFT, RIGHT, UP, DOWN, CIRCLE, BACK_AND_FORTH, STOPS, STILL, ENTERS, LEAVES = range(len(MOTIONS))


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """``B`` clips of up to ``O`` objects, the later ones painted over the earlier ones.

    Indices point into :mod:`pipeline.workshop.shapes.vocabulary`'s lists; ``exists`` tells real objects from padding.
    """

    num_frames: torch.Tensor
    """int64 [B]."""
    aspect: torch.Tensor
    """float [B]: width / height."""
    exists: torch.Tensor
    """bool [B, O]."""
    colour: torch.Tensor
    """int64 [B, O], as are shape, size and motion."""
    shape: torch.Tensor
    size: torch.Tensor
    motion: torch.Tensor
    radius: torch.Tensor
    """float [B, O]."""
    angle: torch.Tensor
    """float [B, O]: rotation in radians."""
    start: torch.Tensor
    """float [B, O, 2]: the path is ``start + travel * progress(t) + orbit * (cos, sin)(phase + turn * t)``."""
    travel: torch.Tensor
    orbit: torch.Tensor
    """float [B, O, 2]."""
    phase: torch.Tensor
    turn: torch.Tensor
    begin: torch.Tensor
    """float [B, O]: ``progress`` rises from 0 at ``begin`` to 1 at ``end``."""
    end: torch.Tensor
    texture: torch.Tensor
    """float [B, O, 4]: wave vector (2), phase, strength."""
    paint: torch.Tensor
    """float [B, O, 3]: the colour really used."""
    background: torch.Tensor
    """float [B, 16]: two colours (6), gradient (2), wave (4), light (3), noise (1)."""
    noise_seed: torch.Tensor
    """int64 [B]."""

    def positions(self, times: torch.Tensor) -> torch.Tensor:
        """Centres [B, O, T, 2] at ``times`` [B, T] in 0..1."""
        return _path(self, times[:, None, :])

    def to(self, device: torch.device | str) -> "Scenes":
        """The same scenes on another device."""
        return Scenes(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def __len__(self) -> int:
        return int(self.num_frames.shape[0])


def _path(part: "Scenes | _Paths", times: torch.Tensor) -> torch.Tensor:
    """Centres [..., T, 2] for parameters [...] and times that broadcast to [..., T]."""
    begin, end = part.begin[..., None], part.end[..., None]
    progress = ((times - begin) / (end - begin)).clamp(0, 1)
    angle = part.phase[..., None] + part.turn[..., None] * times
    around = torch.stack((angle.cos(), angle.sin()), -1)
    return (
        part.start[..., None, :] + part.travel[..., None, :] * progress[..., None] + part.orbit[..., None, :] * around
    )


@dataclass
class _Paths:
    start: torch.Tensor
    travel: torch.Tensor
    orbit: torch.Tensor
    phase: torch.Tensor
    turn: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor

    def pick(self, index: torch.Tensor) -> "_Paths":
        """The chosen candidate of each clip: [B, N, ...] -> [B, ...]."""
        rows = torch.arange(index.shape[0])
        return _Paths(**{field.name: getattr(self, field.name)[rows, index] for field in fields(self)})


class _Draw:
    """Uniform random numbers of one generator, by range."""

    def __init__(self, seed: int, split: Split) -> None:
        # Training and test streams never meet: the split is part of the seed.
        space = _TEST_SEED_SPACE if split == "test" else _TRAIN_SEED_SPACE
        self.generator = torch.Generator().manual_seed(seed * 2 + space)

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def integer(self, high: int, *shape: int) -> torch.Tensor:
        return torch.randint(high, shape, generator=self.generator)

    def chance(self, probability: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator) < probability


def sample_scenes(
    batch: int,
    *,
    seed: int,
    split: Split = "train",
    num_frames: tuple[int, int] = (16, 40),
    aspect: float | None = None,
    max_objects: int = MAX_OBJECTS,
) -> Scenes:
    """Draw ``batch`` clips.

    Args:
        batch: Number of clips.
        seed: Same seed, same clips. The two splits draw from separate streams.
        split: ``train`` never holds a held-out colour x shape x motion; every ``test`` clip holds at least one.
        num_frames: Least and greatest number of frames of a clip, both included.
        aspect: Width / height; ``None`` draws it between 1 and 1.4 per clip.
        max_objects: At most this many objects, at least 2.
    """
    draw = _Draw(seed, split)
    count = 2 + (draw.uniform(0, 1, batch) ** 1.3 * (max_objects - 1)).long().clamp(max=max_objects - 2)
    exists = torch.arange(max_objects)[None] < count[:, None]
    aspects = draw.uniform(1.0, 1.4, batch) if aspect is None else torch.full((batch,), aspect)
    looks = _draw_looks(draw, batch, max_objects, count, split)
    crossing = draw.chance(0.25, batch)
    paths = _place(draw, looks, exists, aspects, crossing)
    order = torch.where(exists, draw.uniform(0, 1, batch, max_objects), torch.tensor(2.0)).argsort(1)
    tensors = {**looks, **{field.name: getattr(paths, field.name) for field in fields(_Paths)}}
    tensors |= _draw_paint(draw, looks["colour"])
    rows = torch.arange(batch)[:, None]
    shuffled = {name: value[rows, order] for name, value in tensors.items()}
    low, high = num_frames
    return Scenes(
        num_frames=low + draw.integer(high - low + 1, batch),
        aspect=aspects,
        exists=exists,
        background=_draw_background(draw, batch),
        noise_seed=draw.integer(2**31, batch),
        **shuffled,
    )


def keyframe_times(scenes: Scenes, count: int) -> torch.Tensor:
    """Times [B, count] of ``count`` uniformly spaced frames of every clip, floored to whole frames as in evaluation."""
    last = (scenes.num_frames - 1).double()[:, None]
    fractions = torch.linspace(0, 1, count, dtype=torch.float64)[None]
    return ((fractions * last + 1e-9).floor() / last).float()


def frame_times(num_frames: int) -> torch.Tensor:
    """Times [1, num_frames] of every frame of a clip."""
    return torch.arange(num_frames, dtype=torch.float32)[None] / max(num_frames - 1, 1)


def _draw_looks(draw: _Draw, batch: int, objects: int, count: torch.Tensor, split: Split) -> dict[str, torch.Tensor]:
    """Colours, shapes, sizes, motions; four clips in ten hold two or three objects that look alike."""
    colour, shape = draw.integer(len(COLOUR_NAMES), batch, objects), draw.integer(len(SHAPES), batch, objects)
    # Crowded clips have small objects only, or nothing would stay visible.
    size = (draw.chance(0.45, batch, objects) & (count[:, None] <= 4)).long()
    motion = draw.integer(len(MOTIONS), batch, objects)
    alike = torch.where(draw.chance(0.4, batch), 2 + draw.integer(2, batch), torch.tensor(1))
    slots = torch.arange(objects)[None].expand(batch, -1)
    for values in (colour, shape, size):
        values.copy_(torch.where(slots < alike[:, None], values[:, :1], values))
    # Look-alikes move differently more often than chance would have it; others sometimes share a motion.
    spread = (motion[:, :1] + slots * (1 + draw.integer(4, batch, 1))) % len(MOTIONS)
    motion = torch.where(slots < alike[:, None], spread, motion)
    held_out = (3 * colour + 5 * shape + 7 * motion) % 10 == 0
    if split == "train":
        motion = torch.where(held_out, (motion + 1) % len(MOTIONS), motion)
    else:
        motion[:, 0] = (-3 * (3 * colour[:, 0] + 5 * shape[:, 0])) % 10
    ranges = torch.tensor(list(SIZES.values()))[size]
    radius = ranges[..., 0] + (ranges[..., 1] - ranges[..., 0]) * draw.uniform(0, 1, batch, objects)
    angle = draw.uniform(-0.35, 0.35, batch, objects)
    return {"colour": colour, "shape": shape, "size": size, "motion": motion, "radius": radius, "angle": angle}


def _place(
    draw: _Draw, looks: dict[str, torch.Tensor], exists: torch.Tensor, aspect: torch.Tensor, crossing: torch.Tensor
) -> _Paths:
    """Paths for all objects, one object after the other, keeping clear of those already placed."""
    batch, objects = exists.shape
    times = torch.linspace(0, 1, _GRID)
    metric = torch.stack((aspect, torch.ones(batch)), -1)[:, None, None, :]
    placed: list[_Paths] = []
    tracks: list[torch.Tensor] = []
    for index in range(objects):
        radius = looks["radius"][:, index]
        candidates = _draw_paths(draw, looks["motion"][:, index], radius, aspect)
        track = _path(candidates, times)  # [B, N, G, 2]
        clearance = torch.full((batch, NUM_CANDIDATES), 1.0)
        for other in range(index):
            gap = ((track - tracks[other][:, None]) * metric).norm(dim=-1)
            reach = (radius + looks["radius"][:, other])[:, None, None]
            # The worst moment decides, softened by the mean, so that short overlaps lose against none.
            relative = (gap / reach).clamp(max=1.3)
            score = relative.amin(-1) + 0.5 * relative.mean(-1)
            clearance = torch.minimum(clearance, torch.where(exists[:, other, None], score, torch.tensor(9.0)))
            if index < 3:  # possible look-alikes also keep to regions of their own at different times
                spans = ((track[:, :, :, None] - tracks[other][:, None, None]) * metric[:, :, None]).norm(dim=-1)
                clearance = torch.minimum(clearance, (spans.amin((-1, -2)) / reach[..., 0]).clamp(max=1.3) + 0.65)
        best = torch.where(crossing, torch.zeros(batch, dtype=torch.long), clearance.argmax(1))
        chosen = candidates.pick(best)
        placed.append(chosen)
        tracks.append(_path(chosen, times))
    return _Paths(**{f.name: torch.stack([getattr(path, f.name) for path in placed], 1) for f in fields(_Paths)})


def _draw_paths(draw: _Draw, motion: torch.Tensor, radius: torch.Tensor, aspect: torch.Tensor) -> _Paths:
    """Candidate paths [B, N] for one object per clip, each following its motion."""
    shape = (motion.shape[0], NUM_CANDIDATES)
    kind = motion[:, None].expand(shape)
    margin = torch.stack((radius / aspect, radius), -1)[:, None, :]
    room = 1 - 2 * margin
    sideways = torch.where((kind == LEFT) | (kind == RIGHT), True, draw.chance(0.5, *shape))
    sideways = torch.where((kind == UP) | (kind == DOWN), False, sideways)
    sign = torch.where(draw.chance(0.5, *shape), 1.0, -1.0)
    sign = torch.where((kind == RIGHT) | (kind == DOWN), 1.0, sign)
    sign = torch.where((kind == LEFT) | (kind == UP), -1.0, sign)
    axis = torch.stack((sideways, ~sideways), -1).float()
    length = torch.where(
        (kind == STOPS)[..., None], draw.uniform(0.3, 0.5, *shape, 1), draw.uniform(0.38, 0.65, *shape, 1)
    )
    length = torch.minimum(length, 0.95 * room)
    step = axis * sign[..., None] * length
    free = draw.uniform(0, 1, *shape, 2)
    # Somewhere inside, such that start and start + step are both inside.
    low = margin + (-step).clamp(min=0)
    start = low + free * (room - step.abs())
    travel = step + (1 - axis) * draw.uniform(-0.03, 0.03, *shape, 2) * (kind < CIRCLE)[..., None]
    begin, end = torch.zeros(shape), torch.ones(shape)
    end = torch.where(kind == STOPS, draw.uniform(0.35, 0.55, *shape), end)

    inside = margin + free * room
    edge = torch.where(sign[..., None] > 0, -1.2 * margin, 1 + 1.2 * margin)  # just outside, on the side it comes from
    reach = torch.where(sign[..., None] > 0, 0.3 + 0.45 * free, 0.7 - 0.45 * free)
    outside, within = torch.where(axis > 0, edge, inside), torch.where(axis > 0, reach, inside)
    enters, leaves = (kind == ENTERS)[..., None], (kind == LEAVES)[..., None]
    start = torch.where(enters, outside, torch.where(leaves, within, start))
    travel = torch.where(enters, within - outside, torch.where(leaves, outside - within, travel))
    begin = torch.where(kind == ENTERS, draw.uniform(0.12, 0.5, *shape), begin)
    end = torch.where(kind == LEAVES, draw.uniform(0.5, 0.85, *shape), end)

    swing = draw.uniform(0.15, 0.24, *shape, 1)
    ring = torch.stack((draw.uniform(0.11, 0.17, *shape) / aspect[:, None], torch.zeros(shape)), -1)
    ring[..., 1] = ring[..., 0] * aspect[:, None]
    circling, swinging = (kind == CIRCLE)[..., None], (kind == BACK_AND_FORTH)[..., None]
    orbit = torch.where(circling, ring, torch.zeros(*shape, 2))
    orbit = torch.minimum(torch.where(swinging, axis * swing, orbit), 0.49 * room)
    hovering = circling | swinging | (kind == STILL)[..., None]
    start = torch.where(hovering, margin + orbit + free * (room - 2 * orbit), start)
    travel = torch.where(hovering, torch.zeros_like(travel), travel)
    turns = torch.where(draw.chance(0.5, *shape), 1.0, -1.0) * draw.uniform(0.85, 1.25, *shape)
    phase = draw.uniform(-math.pi, math.pi, *shape)
    # Back and forth along y uses the sine: shift the phase so that both axes begin at an end of the swing.
    ends = (
        torch.where(sign > 0, 0.0, math.pi) + draw.uniform(-0.3, 0.3, *shape) + torch.where(sideways, 0.0, math.pi / 2)
    )
    phase = torch.where(kind == BACK_AND_FORTH, ends, phase)
    return _Paths(start, travel, orbit, phase, turns * 2 * math.pi, begin, end)


def _draw_paint(draw: _Draw, colour: torch.Tensor) -> dict[str, torch.Tensor]:
    batch, objects = colour.shape
    base = torch.tensor(list(COLOURS.values()))[colour]
    paint = (base + draw.uniform(-0.05, 0.05, batch, objects, 3)).clamp(0, 1)
    wave = draw.uniform(-40, 40, batch, objects, 2)
    rest = torch.stack((draw.uniform(0, 6.3, batch, objects), draw.uniform(0, 0.14, batch, objects)), -1)
    return {"paint": paint, "texture": torch.cat((wave, rest), -1)}


def _draw_background(draw: _Draw, batch: int) -> torch.Tensor:
    grey = draw.uniform(0.12, 0.62, batch, 2, 1)
    tints = (grey + draw.uniform(-0.07, 0.07, batch, 2, 3)).reshape(batch, 6)
    gradient = draw.uniform(-1, 1, batch, 2)
    wave = torch.cat(
        (draw.uniform(-30, 30, batch, 2), draw.uniform(0, 6.3, batch, 1), draw.uniform(0, 0.06, batch, 1)), 1
    )
    light = torch.cat((draw.uniform(-0.18, 0.18, batch, 2), draw.uniform(-0.12, 0.12, batch, 1)), 1)
    return torch.cat((tints, gradient, wave, light, draw.uniform(0.005, 0.04, batch, 1)), 1)
