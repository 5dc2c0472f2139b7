"""Whatever dies in the middle of a run: started again, every (video, expression) has exactly its rows."""

from pathlib import Path

import pytest

from tests.chaos.harness import VICTIMS


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_runs_end_with_the_rows_of_an_undisturbed_one(tmp_path: Path) -> None:
    from tests.chaos.harness import Chaos
    from tests.chaos.material import write_material

    chaos = Chaos(write_material(tmp_path), tmp_path)
    try:
        expected = chaos.undisturbed()
        assert len(expected) == 120
        for seed in range(len(VICTIMS)):
            outcome = chaos.disturbed(seed)
            assert outcome.doubled == 0, outcome.victim
            assert outcome.rows == expected, outcome.victim
    finally:
        chaos.close()
