import pytest

from pipeline.errors import UsageError
from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure
from pipeline.video.keyframes import first_keyframes, moved_keyframes, uniform_keyframes


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"),
    [
        (20, 5, [0, 4, 9, 14, 19]),  # 4.75, 9.5, 14.25: truncated, not rounded
        (5, 5, [0, 1, 2, 3, 4]),
        (3, 5, [0, 0, 1, 1, 2]),  # shorter than asked for: duplicates are kept
        (1, 5, [0, 0, 0, 0, 0]),
        (90, 1, [0]),
        (12, 12, list(range(12))),
    ],
)
def test_uniform_keyframes(num_frames, count, expected):
    assert uniform_keyframes(num_frames, count) == expected


@pytest.mark.parametrize(
    ("num_frames", "count", "expected"), [(20, 5, [0, 1, 2, 3, 4]), (3, 5, [0, 1, 2]), (1, 1, [0])]
)
def test_first_keyframes(num_frames, count, expected):
    assert first_keyframes(num_frames, count) == expected


@pytest.mark.parametrize("function", [uniform_keyframes, first_keyframes, moved_keyframes])
@pytest.mark.parametrize(("num_frames", "count"), [(0, 5), (5, 0)])
def test_no_frames_or_no_keyframes_is_refused(function, num_frames, count):
    with pytest.raises(ValueError, match="at least 1"):
        function(num_frames, count)


@pytest.mark.parametrize(
    ("num_frames", "count", "choice", "expected"),
    [
        (21, 5, {"offset": 0.5}, [0, 7, 12, 17, 20]),  # between the uniform ones; propagation begins at the first frame
        (21, 5, {"offset": -0.5}, [0, 2, 7, 12, 17]),
        (21, 1, {"offset": 0.5}, [0]),
        (101, 5, {"denser_ends": True}, [0, 14, 50, 85, 100]),
        (2, 4, {"offset": 0.25}, [0, 0, 0, 1]),
        (9, 2, {"offset": -0.5}, [0, 4]),
    ],
)
def test_keyframes_can_be_spread_in_other_ways(num_frames, count, choice, expected):
    assert moved_keyframes(num_frames, count, **choice) == expected


def test_a_seed_moves_each_keyframe_by_less_than_half_a_space_the_same_way_every_time():
    usual, found = uniform_keyframes(1001, 5), [moved_keyframes(1001, 5, seed=seed) for seed in range(20)]
    assert all(abs(a - b) <= 125 for frames in found for a, b in zip(frames, usual, strict=True))
    assert len({tuple(frames) for frames in found}) == 20
    assert all(frames[0] == 0 for frames in found)
    assert found[3] == moved_keyframes(1001, 5, seed=3)


def test_a_procedure_samples_as_it_says_and_the_published_ones_as_before():
    for num_frames, count in ((20, 5), (3, 5), (90, 1), (57, 12)):
        assert SA2VA_I.sample(num_frames, count) == uniform_keyframes(num_frames, count)
        assert SA2VA.sample(num_frames, count) == first_keyframes(num_frames, count)
    assert Procedure(keyframes="uniform+").sample(101, 5) == [0, 14, 50, 85, 100]
    assert Procedure(keyframe_offset=0.5).sample(21, 5) == [0, 7, 12, 17, 20]
    assert Procedure(keyframe_seed=3).sample(1001, 5) == moved_keyframes(1001, 5, seed=3)
    with pytest.raises(UsageError, match="the first ones are not"):
        Procedure(keyframes="first", keyframe_offset=0.1)
