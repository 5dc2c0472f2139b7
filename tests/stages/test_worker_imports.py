"""What a worker of a stage imports before it starts: a task that only writes must not load the networks' libraries."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pipeline.stages.write", ("torch", "transformers", "sam2")),
        ("pipeline.stages.segment", ("transformers.modeling_utils",)),
        ("pipeline.model.families", ("transformers.modeling_utils",)),
    ],
)
def test_a_worker_imports_only_what_it_computes_with(module: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
