"""The command jobs/export.py: exit codes, and what it says."""

import pytest
from small_benchmark import truth_rows, write_dataset


@pytest.fixture
def job(job_here):
    """The command in this process: arguments -> exit code, standard output, standard error."""
    return job_here("export")


def test_export_then_check_then_a_fault(benchmark_of, job):
    output = benchmark_of.folder / "s.zip"
    of = ["--manifest", benchmark_of.manifest, "--format", "mevis"]
    code, said, errors = job(*of, "--predictions", benchmark_of.dataset, "--output", output)
    assert (code, said, errors) == (0, f"{output}: 14 pictures\n", "")
    code, said, _ = job(*of, "--check", output)
    assert (code, said) == (0, f"{output}: no faults\n")
    code, said, errors = job("--manifest", benchmark_of.manifest, "--format", "ref-youtube-vos", "--check", output)
    assert code == 1
    assert "wrong root" in said
    assert errors.endswith("1 faults\n")


def test_missing_answers_are_listed_and_block_with_3(benchmark_of, job):
    dataset = write_dataset(benchmark_of.folder / "half", [[truth_rows("v0aa")[0]], truth_rows("v1bb")])
    output = benchmark_of.folder / "s.zip"
    options = ["--manifest", benchmark_of.manifest, "--format", "mevis", "--predictions", dataset, "--output", output]
    code, _, errors = job(*options)
    assert code == 3
    assert len([line for line in errors.splitlines() if line.startswith("missing: video 'v0aa'")]) == 3
    assert not output.exists()
    code, _, errors = job(*options, "--allow-missing")
    assert code == 1
    assert "3 expressions have no answer and got empty masks" in errors
    assert output.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "mevis", "--manifest", "x"],
        ["--format", "mevis", "--manifest", "x", "--check", "a", "--output", "b"],
        ["--format", "zip", "--manifest", "x", "--check", "a"],
        ["--format", "mevis", "--manifest", "/absent.json", "--check", "a"],
        ["--format", "mevis", "--manifest", "/absent.json", "--predictions", "a", "--output", "b"],
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments, job):
    code, said, errors = job(*arguments)
    assert (code, said) == (2, "")
    assert len(errors.splitlines()) == 1
