"""True and unambiguous sentences about a clip, from its geometry.

An expression is kept only where every object either clearly matches or clearly does not; a doubtful object (one that
drifts left in a clip where another "moves left") rejects the sentence. Margins are in shares of the frame.
"""

import itertools
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.workshop.shapes.scene import (
    BACK_AND_FORTH,
    CIRCLE,
    DOWN,
    ENTERS,
    LEAVES,
    LEFT,
    RIGHT,
    STILL,
    STOPS,
    UP,
    Scenes,
)  # fmt: skip
from pipeline.workshop.shapes.vocabulary import COLOUR_NAMES, MOTIONS, SHAPES, SIZE_NAMES

_GRID = 21
_ANY_NOUN = ("shape", "object", "one", "thing")
_MOTION_PHRASES: dict[int, tuple[str, ...]] = {
    LEFT: ("that moves left", "moving left", "that goes left"),
    RIGHT: ("that moves right", "moving right", "that goes right"),
    UP: ("that moves up", "moving up", "that goes up"),
    DOWN: ("that moves down", "moving down", "that goes down"),
    CIRCLE: ("that moves in a circle", "moving in a circle", "that goes around in a circle"),
    BACK_AND_FORTH: ("that moves back and forth", "moving back and forth", "that goes back and forth"),
    STOPS: ("that stops", "that comes to a stop"),
    STILL: ("that stands still", "that does not move", "that stays still"),
    ENTERS: ("that enters", "that comes into the picture", "that enters late"),
    LEAVES: ("that leaves", "that goes out of the picture"),
}
_PLURAL = {"moves": "move", "goes": "go", "stops": "stop", "comes": "come", "stands": "stand", "stays": "stay",
           "does": "do", "enters": "enter", "leaves": "leave"}  # fmt: skip
_SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
_RELATIONS = {"to the left of": (0, 1), "to the right of": (0, -1), "above": (1, 1), "below": (1, -1)}


@dataclass(frozen=True)
class ShapeExpression:
    """A sentence, its kind (one of ``vocabulary.KINDS``) and the objects it means; no objects for kind ``none``."""

    text: str
    kind: str
    targets: tuple[int, ...]
    near: tuple[int, ...] = ()
    """Of kind ``none``: objects that the sentence describes but for one detail (motion, place, relation, count)."""


@dataclass(frozen=True)
class _Noun:
    """A description by looks; ``None`` leaves an attribute open."""

    colour: int | None
    shape: int | None
    size: int | None

    @property
    def bare(self) -> bool:
        return self.colour is None and self.shape is None and self.size is None

    def words(self, rng: random.Random, *, plural: bool = False) -> str:
        noun = SHAPES[self.shape] if self.shape is not None else rng.choice(_ANY_NOUN)
        parts = [SIZE_NAMES[self.size]] if self.size is not None else []
        parts += [COLOUR_NAMES[self.colour]] if self.colour is not None else []
        return " ".join([*parts, noun + ("es" if noun == "cross" else "s") * plural])


@dataclass(frozen=True)
class _Clip:
    """What can be seen in one clip, at ``_GRID`` evenly spaced times."""

    colour: list[int]
    shape: list[int]
    size: list[int]
    motion: list[int]
    begin: list[float]
    seen: npt.NDArray[np.bool_]
    """bool [O, G]: at least 40 % of the object is in view."""
    net: npt.NDArray[np.float32]
    """float [O, 2]: displacement from the first to the last time in view."""
    middle: npt.NDArray[np.float32]
    """float [O, 2]: mean centre while in view."""
    ahead: npt.NDArray[np.int8]
    """int8 [O, O, 2]: 1 where the first is always left of / above the second, 2 where clearly so, negative the other
    way round, 0 where it depends on the moment."""
    crosses: npt.NDArray[np.bool_]
    """bool [O]: a look-alike is at some time where this one is at some other time: no place tells them apart."""

    @property
    def count(self) -> int:
        return len(self.colour)


def visible_share(scenes: Scenes, times: torch.Tensor) -> torch.Tensor:
    """About how much of each object is in the frame and not covered: float [B, O, T], from 17 points on its disc."""
    centre = scenes.positions(times)
    turn = torch.arange(8) * (2 * torch.pi / 8)
    ring = torch.stack((turn.cos(), turn.sin()), -1)
    points = torch.cat((torch.zeros(1, 2), 0.45 * ring, 0.75 * ring))
    metric = torch.stack((scenes.aspect, torch.ones_like(scenes.aspect)), -1)[:, None, None, None, :]
    radius = scenes.radius[:, :, None, None, None]
    spots = centre[:, :, :, None, :] + points * radius / metric  # [B, O, T, P, 2]
    free = ((spots > 0) & (spots < 1)).all(-1)
    for later in range(1, scenes.exists.shape[1]):
        gap = ((spots[:, :later] - centre[:, later, None, :, None]) * metric).norm(dim=-1)
        covers = (gap < 0.8 * scenes.radius[:, later, None, None, None]) & scenes.exists[:, later, None, None, None]
        free[:, :later] &= ~covers
    return free.float().mean(-1) * scenes.exists[:, :, None]


def describe(scenes: Scenes) -> list[list[ShapeExpression]]:
    """All kinds of expressions that can be said of every clip, in a random but seeded order within each kind."""
    times = torch.linspace(0, 1, _GRID)[None].expand(len(scenes), -1)
    tracks, seen = scenes.positions(times), visible_share(scenes, times) >= 0.4
    return [
        _describe_clip(_clip(scenes, tracks, seen, i), random.Random(int(scenes.noise_seed[i])))
        for i in range(len(scenes))
    ]


def _clip(scenes: Scenes, tracks: torch.Tensor, seen: torch.Tensor, index: int) -> _Clip:
    count = int(scenes.exists[index].sum())
    values = {
        name: getattr(scenes, name)[index, :count].tolist() for name in ("colour", "shape", "size", "motion", "begin")
    }
    track, visible = tracks[index, :count].numpy(), seen[index, :count].numpy()
    net, middle = np.zeros((count, 2), np.float32), np.full((count, 2), 0.5, np.float32)
    for i in range(count):
        where = visible[i].nonzero()[0]
        if len(where):
            net[i], middle[i] = track[i, where[-1]] - track[i, where[0]], track[i, where].mean(0)
    looks = np.array([values["colour"], values["shape"]])
    alike = (looks[:, :, None] == looks[:, None]).all(0) & ~np.eye(count, dtype=bool)
    crosses = np.zeros(count, bool)
    for i, j in np.argwhere(alike):
        gaps = (track[i][:, None] - track[j][None]) * np.array([float(scenes.aspect[index]), 1.0], np.float32)
        reach = 0.9 * float(scenes.radius[index, i] + scenes.radius[index, j])
        crosses[i] |= bool((gaps**2).sum(-1).min() < reach**2)
    return _Clip(seen=visible, net=net, middle=middle, ahead=_ahead(track, visible), crosses=crosses, **values)


def _ahead(track: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    both = (seen[:, None] & seen[None])[..., None]  # [O, O, G, 1]
    gap = track[None] - track[:, None]  # second minus first
    count = both.sum(2)
    mean = (gap * both).sum(2) / np.maximum(count, 1)
    low, high = np.where(both, gap, 9.0).min(2), np.where(both, gap, -9.0).max(2)
    enough = count >= 5
    first, second = enough & (low > 0), enough & (high < 0)
    clear = np.where(first, (low > 0.03) & (mean > 0.15), (high < -0.03) & (mean < -0.15))
    return ((first.astype(np.int8) - second.astype(np.int8)) * (1 + clear)).astype(np.int8)


def _describe_clip(clip: _Clip, rng: random.Random) -> list[ShapeExpression]:
    nouns = {
        _Noun(colour, shape, size)
        for i in range(clip.count)
        for colour in (None, clip.colour[i])
        for shape in (None, clip.shape[i])
        for size in (None, clip.size[i])
    }
    found: list[ShapeExpression] = []
    absent = random.Random(rng.random())
    # Sorted, because the order of a set that holds None differs from process to process.
    for noun in sorted(nouns, key=lambda n: [-1 if value is None else value for value in (n.colour, n.shape, n.size)]):
        matches = _matches(clip, noun)
        found += _by_looks(noun, matches, rng)
        if len(matches) > 1:
            found += _by_motion(clip, noun, matches, rng)
            found += _by_side(clip, noun, matches, rng)
            found += _by_relation(clip, noun, matches, rng)
            found += _absent_relation(clip, noun, matches, absent)
        found += _absent_motion(clip, noun, matches, rng)
        found += _absent_count(noun, matches, absent)
        found += _absent_side(clip, noun, matches, absent)
    found += _absent_looks(clip, rng)
    good = [e for e in found if all(_worth_asking(clip, target) for target in e.targets)]
    rng.shuffle(good)
    return list({e.text: e for e in good}.values())


def _matches(clip: _Clip, noun: _Noun) -> list[int]:
    return [
        i
        for i in range(clip.count)
        if noun.colour in (None, clip.colour[i])
        and noun.shape in (None, clip.shape[i])
        and noun.size in (None, clip.size[i])
    ]


def _worth_asking(clip: _Clip, target: int) -> bool:
    """In view on a quarter of the clip and on two of five keyframes."""
    seen = clip.seen[target]
    return bool(seen[:: _GRID // 4].sum() >= 2 and seen.mean() >= 0.25)


def _by_looks(noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    if noun.bare:
        return []
    if len(matches) == 1:
        return [ShapeExpression(f"the {noun.words(rng)}", "appearance", tuple(matches))]
    how = "both" if len(matches) == 2 else "all"
    return [ShapeExpression(f"{how} {noun.words(rng, plural=True)}", "multiple", tuple(matches))]


def _does(clip: _Clip, index: int, motion: int) -> bool | None:
    """Whether the object moves that way; ``None`` where one could argue."""
    if clip.motion[index] == motion:
        return True
    if motion in (LEFT, RIGHT, UP, DOWN):
        axis, sign = (0 if motion in (LEFT, RIGHT) else 1), (-1 if motion in (LEFT, UP) else 1)
        return None if clip.net[index, axis] * sign > 0.1 else False
    if motion == STOPS and clip.motion[index] == ENTERS:
        return None
    return False


def _by_motion(clip: _Clip, noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    found = []
    for motion in sorted({clip.motion[i] for i in matches}):
        verdicts = {i: _does(clip, i, motion) for i in matches}
        if None in verdicts.values():
            continue
        doing = [i for i, does in verdicts.items() if does]
        phrase = rng.choice(_MOTION_PHRASES[motion])
        if len(doing) == 1:
            kind = "motion-hard" if clip.crosses[doing[0]] else "motion"
            found.append(ShapeExpression(f"the {noun.words(rng)} {phrase}", kind, tuple(doing)))
        elif len(doing) < len(matches) or noun.bare:
            plural = " ".join(_PLURAL.get(word, word) for word in phrase.split())
            how = "both" if len(doing) == 2 else "all"
            found.append(ShapeExpression(f"{how} {noun.words(rng, plural=True)} {plural}", "multiple", tuple(doing)))
    entering = sorted((clip.begin[i], i) for i in matches if clip.motion[i] == ENTERS)
    if entering and (len(entering) == 1 or entering[-1][0] - entering[-2][0] > 0.12):
        last = entering[-1][1]
        kind = "motion-hard" if clip.crosses[last] else "motion"
        found.append(ShapeExpression(f"the {noun.words(rng)} that enters last", kind, (last,)))
    return found


def _by_side(clip: _Clip, noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    found = []
    for side, (axis, sign) in _SIDES.items():
        for target in matches:
            outer = (0.5 - clip.middle[target, axis]) * sign > 0.05
            if outer and all(clip.ahead[target, i, axis] == 2 * sign for i in matches if i != target):
                where = f"{'on' if axis == 0 else 'at'} the {side}"
                found.append(ShapeExpression(f"the {noun.words(rng)} {where}", "position", (target,)))
    return found


def _by_relation(clip: _Clip, noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    found = []
    for anchor in range(clip.count):
        name = _Noun(clip.colour[anchor], clip.shape[anchor], None)
        others = [i for i in matches if i != anchor]
        if len(_matches(clip, name)) > 1 or len(others) < 2 or clip.seen[anchor].mean() < 0.6:
            continue
        for words, (axis, sign) in _RELATIONS.items():
            verdicts = [int(clip.ahead[i, anchor, axis]) * sign for i in others]
            if 0 not in verdicts and 1 not in verdicts and verdicts.count(2) == 1:
                target = others[verdicts.index(2)]
                text = f"the {noun.words(rng)} {words} the {name.words(rng)}"
                found.append(ShapeExpression(text, "relation", (target,)))
    return found


def _absent_looks(clip: _Clip, rng: random.Random) -> list[ShapeExpression]:
    """Colours and shapes that are there, in a combination that is not."""
    there = set(zip(clip.colour, clip.shape, strict=True))
    pairs = [p for p in itertools.product(sorted(set(clip.colour)), sorted(set(clip.shape))) if p not in there]
    absent = [colour for colour in range(len(COLOUR_NAMES)) if colour not in clip.colour]
    pairs = [*rng.sample(pairs, min(2, len(pairs))), (rng.choice(absent), rng.randrange(len(SHAPES)))]
    return [ShapeExpression(f"the {_Noun(colour, shape, None).words(rng)}", "none", ()) for colour, shape in pairs]


def _absent_motion(clip: _Clip, noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    """Objects that are there, said to do what none of them does."""
    motion = rng.randrange(len(MOTIONS))
    if rng.random() > 0.35 or any(_does(clip, i, motion) is not False for i in matches):
        return []
    text = f"the {noun.words(rng)} {rng.choice(_MOTION_PHRASES[motion])}"
    return [ShapeExpression(text, "none", (), tuple(matches))]


def _absent_count(noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    """More of a kind than there are."""
    if noun.bare or not 1 <= len(matches) <= 2 or rng.random() > 0.25:
        return []
    how = "both" if len(matches) == 1 else "all three"
    return [ShapeExpression(f"{how} {noun.words(rng, plural=True)}", "none", (), tuple(matches))]


def _absent_side(clip: _Clip, noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    """Objects that are there, said to be on the side opposite to where each of them is throughout."""
    side, (axis, sign) = rng.choice(list(_SIDES.items()))
    far = [(clip.middle[i, axis] - 0.5) * sign > 0.15 for i in matches]
    if not matches or noun.bare or rng.random() > 0.3 or not all(far):
        return []
    where = f"{'on' if axis == 0 else 'at'} the {side}"
    return [ShapeExpression(f"the {noun.words(rng)} {where}", "none", (), tuple(matches))]


def _absent_relation(clip: _Clip, noun: _Noun, matches: list[int], rng: random.Random) -> list[ShapeExpression]:
    """Objects that are there, said to be on the wrong side of another one."""
    anchor = rng.randrange(clip.count)
    words, (axis, sign) = rng.choice(list(_RELATIONS.items()))
    name = _Noun(clip.colour[anchor], clip.shape[anchor], None)
    others = [i for i in matches if i != anchor]
    wrong = [int(clip.ahead[i, anchor, axis]) * sign == -2 for i in others]
    unclear = len(_matches(clip, name)) > 1 or clip.seen[anchor].mean() < 0.6
    if rng.random() > 0.5 or unclear or not others or not all(wrong):
        return []
    return [ShapeExpression(f"the {noun.words(rng)} {words} the {name.words(rng)}", "none", (), tuple(others))]
