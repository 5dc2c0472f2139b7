import pytest

from pipeline.video.keyframes import first_keyframes, uniform_keyframes


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


@pytest.mark.parametrize("function", [uniform_keyframes, first_keyframes])
@pytest.mark.parametrize(("num_frames", "count"), [(0, 5), (5, 0)])
def test_no_frames_or_no_keyframes_is_refused(function, num_frames, count):
    with pytest.raises(ValueError, match="at least 1"):
        function(num_frames, count)
