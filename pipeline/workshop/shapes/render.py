"""Pixels and exact visible masks of scenes, only at the times asked for.

A shape is a table of radii by angle; each object is painted in a window just large enough for it, over the objects
painted before (so later objects hide earlier ones). One thread renders about a hundred clips a second at 128 x 128.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from pipeline.workshop.shapes.scene import Scenes
from pipeline.workshop.shapes.vocabulary import SHAPES

TABLE = 720
_NOISE_BORDER = 64


@dataclass(frozen=True)
class RenderedClips:
    """A batch of rendered clips."""

    frames: torch.Tensor
    """float32 [B, T, 3, H, W], RGB in 0..1."""
    owner: torch.Tensor
    """uint8 [B, T, H, W]: 0 is background, k + 1 the object on top."""
    num_objects: int

    def masks(self) -> torch.Tensor:
        """Visible masks, bool [B, O, T, H, W]."""
        index = torch.arange(1, self.num_objects + 1, device=self.owner.device, dtype=torch.uint8)
        return self.owner[:, None] == index[None, :, None, None, None]


@lru_cache(maxsize=1)
def radius_table() -> torch.Tensor:
    """float32 [shapes, TABLE]: the outline's radius at each angle, at most 1. All shapes have about the same area."""
    angle = torch.arange(TABLE) * (2 * math.pi / TABLE)

    def polygon(corners: list[tuple[float, float]]) -> torch.Tensor:
        """Radius of a star-shaped polygon: the ray from the centre against each edge."""
        out = torch.zeros(TABLE)
        direction = torch.stack((angle.cos(), angle.sin()), 1)
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
            ex, ey = x2 - x1, y2 - y1
            det = direction[:, 0] * ey - direction[:, 1] * ex
            along = (x1 * ey - y1 * ex) / det
            where = (x1 * direction[:, 1] - y1 * direction[:, 0]) / det
            hit = (along > 0) & (where >= -1e-4) & (where <= 1 + 1e-4)
            out = torch.where(hit, along, out)
        return out

    def ring(count: int, radii: tuple[float, ...], turn: float) -> list[tuple[float, float]]:
        steps = [turn + 2 * math.pi * i / count for i in range(count)]
        return [(radii[i % len(radii)] * math.cos(a), radii[i % len(radii)] * math.sin(a)) for i, a in enumerate(steps)]

    arm = 0.36
    cross = [(1.0, -arm), (1.0, arm), (arm, arm), (arm, 1.0), (-arm, 1.0), (-arm, arm), (-1.0, arm), (-1.0, -arm),
             (-arm, -arm), (-arm, -1.0), (arm, -1.0), (arm, -arm)]  # fmt: skip
    tables = {
        "circle": torch.full((TABLE,), 0.86),
        "square": polygon(ring(4, (1.08,), math.pi / 4)),
        "triangle": polygon(ring(3, (1.15,), -math.pi / 2)),
        "star": polygon(ring(10, (1.12, 0.52), -math.pi / 2)),
        "cross": polygon([(0.95 * x, 0.95 * y) for x, y in cross]),
    }
    return torch.stack([tables[name] for name in SHAPES])


def render(scenes: Scenes, times: torch.Tensor, height: int, width: int) -> RenderedClips:
    """Paint every clip of ``scenes`` at ``times``.

    Args:
        scenes: ``B`` clips, on any device.
        times: float [B, T] in 0..1.
        height: Rows of the pictures. Pixels need not be square: the scene's aspect decides where things are.
        width: Columns of the pictures.
    """
    batch, count = times.shape
    device = times.device
    canvas = torch.cat((_background(scenes, height, width).repeat_interleave(count, 0),
                        torch.zeros(batch * count, 1, 3, device=device)), 1)  # fmt: skip
    owner = torch.zeros(batch * count, height * width + 1, dtype=torch.uint8, device=device)
    centres = scenes.positions(times)
    table = radius_table().to(device)
    for index in range(scenes.exists.shape[1]):
        _paint(scenes, index, centres[:, index], table, canvas, owner, height, width)
    pixels = canvas[:, :-1].reshape(batch, count, height, width, 3)
    pixels = pixels * _light(scenes, height, width)[:, None] + _noise(scenes, count, height, width)
    frames = pixels.clamp(0, 1).permute(0, 1, 4, 2, 3)
    return RenderedClips(frames, owner[:, :-1].reshape(batch, count, height, width), int(scenes.exists.shape[1]))


def _paint(
    scenes: Scenes, index: int, centres: torch.Tensor, table: torch.Tensor,
    canvas: torch.Tensor, owner: torch.Tensor, height: int, width: int,
) -> None:  # fmt: skip
    """Paint object ``index`` of every clip, in place. The last slot of a canvas row takes what falls outside."""
    count = centres.shape[1]
    rows = scenes.exists[:, index].nonzero()[:, 0]
    if not len(rows):
        return
    aspect, radius = scenes.aspect[rows], scenes.radius[rows, index]
    half_y = int(float((radius * 1.16 * height).max())) + 2
    half_x = int(float((radius * 1.16 / aspect * width).max())) + 2
    centre = centres[rows] * torch.tensor([width, height], device=centres.device)  # [R, T, 2] in pixels
    corner = centre.floor().long()
    offset_y = torch.arange(-half_y, half_y + 1, device=centres.device)
    offset_x = torch.arange(-half_x, half_x + 1, device=centres.device)
    y, x = corner[..., 1, None] + offset_y, corner[..., 0, None] + offset_x  # [R, T, P]
    # Object coordinates, in radii.
    scale = radius[:, None, None]
    v = ((y + 0.5 - centre[..., 1, None]) / (height * scale))[..., :, None]
    u = ((x + 0.5 - centre[..., 0, None]) * aspect[:, None, None] / (width * scale))[..., None, :]
    distance = (u * u + v * v).sqrt()
    angle = torch.atan2(v, u) - scenes.angle[rows, index][:, None, None, None]
    slot = (angle * (TABLE / (2 * math.pi)) + TABLE * 2).long() % TABLE
    outline = table[scenes.shape[rows, index]].flatten()[
        slot + torch.arange(len(rows), device=slot.device)[:, None, None, None] * TABLE
    ]
    pixels_per_radius = (scale * height)[..., None]
    alpha = ((outline - distance) * pixels_per_radius + 0.5).clamp(0, 1)
    wave = scenes.texture[rows, index][:, None, None, :, None]
    shade = 1 + wave[..., 3, :] * torch.sin(u * wave[..., 0, :] * 0.25 + v * wave[..., 1, :] * 0.25 + wave[..., 2, :])
    colour = scenes.paint[rows, index][:, None, None, None, :] * shade[..., None]
    inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
    flat = torch.where(inside, y[..., :, None] * width + x[..., None, :], height * width)
    pictures = (rows[:, None] * count + torch.arange(count, device=rows.device)).flatten()
    where = flat.reshape(len(pictures), -1)
    picture = pictures[:, None].expand_as(where)
    alpha = alpha.reshape(len(pictures), -1, 1)
    old = canvas[picture, where]
    canvas[picture, where] = old + (colour.reshape(len(pictures), -1, 3) - old) * alpha
    on_top = torch.where(
        alpha[..., 0] >= 0.5, torch.tensor(index + 1, dtype=torch.uint8, device=owner.device), owner[picture, where]
    )
    owner[picture, where] = on_top


def _axes(height: int, width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    y = (torch.arange(height, device=device) + 0.5) / height - 0.5
    x = (torch.arange(width, device=device) + 0.5) / width - 0.5
    return y[:, None], x[None, :]


def _background(scenes: Scenes, height: int, width: int) -> torch.Tensor:
    """Float [B, H * W, 3]: a gradient between two tints with a faint wave."""
    look = scenes.background
    y, x = _axes(height, width, look.device)
    part = look[:, :, None, None]
    mix = (0.5 + part[:, 6] * x + part[:, 7] * y).clamp(0, 1)[..., None]
    wave = part[:, 11] * torch.sin(part[:, 8] * x + part[:, 9] * y + part[:, 10])
    first, second = look[:, None, None, 0:3], look[:, None, None, 3:6]
    return (first + (second - first) * mix + wave[..., None]).reshape(len(look), -1, 3)


def _light(scenes: Scenes, height: int, width: int) -> torch.Tensor:
    """Float [B, H, W, 1]: brighter on one side."""
    part = scenes.background[:, :, None, None]
    y, x = _axes(height, width, part.device)
    return (1 + part[:, 12] * x + part[:, 13] * y + part[:, 14])[..., None]


def _noise(scenes: Scenes, count: int, height: int, width: int) -> torch.Tensor:
    """Sensor noise, float [B, T, H, W, 3]: windows of one field, since fresh noise would cost more than painting."""
    field = _noise_field(height + _NOISE_BORDER, width + _NOISE_BORDER).to(scenes.background.device)
    out = []
    for seed, strength in zip(scenes.noise_seed.tolist(), scenes.background[:, 15], strict=True):
        windows = []
        for frame in range(count):
            jump = (seed + 7919 * frame) % (_NOISE_BORDER * _NOISE_BORDER)
            top, left = divmod(jump, _NOISE_BORDER)
            windows.append(field[top : top + height, left : left + width])
        out.append(torch.stack(windows) * strength)
    return torch.stack(out)


@lru_cache(maxsize=8)
def _noise_field(height: int, width: int) -> torch.Tensor:
    return torch.randn(height, width, 3, generator=torch.Generator().manual_seed(5))
