"""The Slurm script: linted, and run for real with a stand-in for Slurm and Ray that writes down what it is asked."""

import os
import subprocess
from pathlib import Path

import pytest
from cluster_files import SLURM, tool

RECORDER = """#!/bin/bash
printf '%s\\n' "$(basename "$0") $*" >> "$RECORD"
"""
SRUN = (
    RECORDER
    + """
while [[ ${1:-} == --* ]]; do shift; done
exec "$@"
"""
)
# The nodes start in the background, as under Slurm: whoever asks for them waits until they were called.
AWAIT = """
await() { for _ in {1..200}; do if grep -q -- "$1" "$RECORD"; then return; fi; sleep 0.05; done; }
"""
RAY = (
    RECORDER
    + AWAIT
    + """
stat -c %a "$RAY_AUTH_TOKEN_PATH" >> "$RECORD.mode"
echo "mode=$RAY_AUTH_MODE token=${RAY_AUTH_TOKEN:-none}" >> "$RECORD.auth"
if [[ -n ${RAY_ENDS:-} ]]; then exit 1; fi
if [[ $1 == start ]]; then exec sleep 60; fi
if [[ $1 == status ]]; then await '^ray start --head'; fi
"""
)
PYTHON = (
    RECORDER
    + AWAIT
    + """
if [[ $* == *token_hex* ]]; then echo abc; fi
if [[ $* == *ray.init* ]]; then await '^ray start --address'; echo "$LIVING"; fi
if [[ $1 == jobs/annotate.py ]]; then exit "$ANNOTATE_EXIT"; fi
"""
)
SCONTROL = "#!/bin/bash\nprintf 'gpu01\\ngpu02\\ngpu03\\n'\n"
HOSTNAME = '#!/bin/bash\necho "${ADDRESSES:-10.0.0.1 fe80::1}"\n'


@pytest.fixture
def slurm(tmp_path):
    """Runs the script as Slurm would; returns (exit code, stderr, what was called)."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    scripts = {"srun": SRUN, "ray": RAY, "python": PYTHON, "scontrol": SCONTROL, "hostname": HOSTNAME}
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(*arguments: str, living: int = 3, annotate_exit: int = 0, patience_s: int = 20):
        record = tmp_path / "record"
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "gpu[01-03]",
            "SLURM_JOB_NUM_NODES": "3",
            "SA2VA_VENV": str(programs.parent),
            "SA2VA_PATIENCE_S": str(patience_s),
            "TMPDIR": str(tmp_path),
            "RECORD": str(record),
            "LIVING": str(living),
            "ANNOTATE_EXIT": str(annotate_exit),
            "RAY_AUTH_TOKEN": "from-an-earlier-session",
            **{name: os.environ[name] for name in ("ADDRESSES", "RAY_ENDS") if name in os.environ},
        }
        done = subprocess.run(
            ["bash", str(SLURM), *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stderr, record.read_text().splitlines()

    return run


def test_shell_syntax_and_shellcheck():
    subprocess.run(["bash", "-n", str(SLURM)], check=True)
    checked = subprocess.run(
        [tool("shellcheck"), "--enable=quote-safe-variables", str(SLURM)], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


def test_starts_one_head_and_the_other_nodes_and_runs_the_job_with_its_arguments(slurm):
    code, _, calls = slurm("--manifest", "my clips.jsonl", "--output", "out")
    starts = [call for call in calls if call.startswith("ray start")]
    assert code == 0
    assert len([call for call in starts if "--head" in call]) == 1
    assert len([call for call in starts if "--address=10.0.0.1:28750" in call]) == 1
    workers = next(call for call in calls if call.startswith("srun") and "--exclude=gpu01" in call)
    assert "--nodes=2" in workers
    assert "--no-kill" in workers
    assert "python jobs/annotate.py --address 10.0.0.1:28750 --manifest my clips.jsonl --output out" in calls


@pytest.mark.parametrize(
    ("addresses", "called"),
    [
        ("fdaa:bbbb::17 10.1.2.3", "10.1.2.3"),  # two stacks, IPv6 first
        ("127.0.1.1 10.1.2.3", "10.1.2.3"),  # Debian's own name for itself
        ("fdaa:bbbb::17", "gpu01"),  # IPv6 alone: by name
    ],
)
def test_the_head_is_called_by_an_address_that_other_nodes_reach(slurm, monkeypatch, addresses, called):
    monkeypatch.setenv("ADDRESSES", addresses)
    _, _, calls = slurm()
    assert any(f"--node-ip-address={called} " in call for call in calls if "--head" in call)


def test_a_head_that_ends_is_noticed_at_once(slurm, monkeypatch):
    monkeypatch.setenv("RAY_ENDS", "1")
    code, errors, _ = slurm(patience_s=50)
    assert code == 3
    assert "Ray's head ended on gpu01" in errors


def test_the_token_is_a_private_file_that_is_gone_afterwards(slurm, tmp_path):
    slurm()
    assert set((tmp_path / "record.mode").read_text().split()) == {"600"}
    assert set((tmp_path / "record.auth").read_text().splitlines()) == {"mode=token token=none"}
    assert not (tmp_path / ".ray-token-4711").exists()


def test_every_node_has_a_bounded_object_store_and_the_dashboard_stays_on_its_machine(slurm):
    starts = [call for call in slurm()[2] if call.startswith("ray start")]
    assert all("--object-store-memory=2147483648" in call for call in starts)
    assert all("--object-spilling-directory=" in call for call in starts)
    assert ["--dashboard-host=127.0.0.1" in call for call in starts if "--head" in call] == [True]
    assert "0.0.0.0" not in Path(SLURM).read_text()


@pytest.mark.parametrize("annotate_exit", [1, 2, 3])
def test_exit_code_of_the_job_is_the_jobs_exit_code(slurm, annotate_exit):
    assert slurm(annotate_exit=annotate_exit)[0] == annotate_exit


def test_says_so_when_nodes_do_not_join(slurm, tmp_path):
    code, stderr, calls = slurm(living=2, patience_s=3)
    assert code == 3
    assert "only 2 of 3 nodes joined" in stderr
    assert not [call for call in calls if "annotate.py" in call]
    assert not (tmp_path / ".ray-token-4711").exists()
