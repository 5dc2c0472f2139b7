"""``ray up`` and ``ray down`` with the file for AWS, against moto's server for the EC2 and IAM interfaces.

Machines exist only in moto, so ``ssh`` and ``rsync`` are programs that write down what they are asked and agree.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster_files import VM_CLUSTER

pytest.importorskip("moto", reason="moto is not installed (pip install 'moto[ec2,iam,server]')")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed (pip install boto3)")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TOKEN = "token-that-must-not-be-on-a-command-line"
RECORDER = """#!/bin/bash
printf '%s\\n' "${0##*/} $*" >> "$RECORD"
case "$*" in *"json .Config.Env"*) echo '["HOME=/home/ray"]' ;; esac
"""
START_WORKER = """
import sys, yaml
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.providers import _get_node_provider
config = _bootstrap_config(yaml.safe_load(open(sys.argv[1])), no_config_cache=True)
provider = _get_node_provider(config["provider"], config["cluster_name"])
tags = {"ray-node-type": "worker", "ray-user-node-type": "segmenter", "ray-node-status": "uninitialized"}
provider.create_node(config["available_node_types"]["segmenter"]["node_config"], tags, 1)
"""
"""What the autoscaler on the head does when the run asks for a GPU."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Account:
    """An AWS account in moto, with what the file's lines marked CHANGE need, and the file filled in."""

    def __init__(self, folder: Path, port: int) -> None:
        self.record, programs = folder / "record", folder / "bin"
        programs.mkdir()
        for name in ("ssh", "rsync"):
            (programs / name).write_text(RECORDER)
            (programs / name).chmod(0o755)
        (folder / ".ray").mkdir()
        (folder / ".ray" / "auth_token").write_text(TOKEN)
        self.environment = {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HOME": str(folder),
            "RECORD": str(self.record),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-west-2",
            "AWS_EC2_METADATA_DISABLED": "true",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-west-2"}
        session = boto3.Session(**keys)
        self.ec2 = session.client("ec2", endpoint_url=self.environment["AWS_ENDPOINT_URL"])
        iam = session.client("iam", endpoint_url=self.environment["AWS_ENDPOINT_URL"])
        for profile in ("sa2va-i-head", "sa2va-i-storage"):
            iam.create_instance_profile(InstanceProfileName=profile)
        network = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        created = self.ec2.create_security_group(GroupName="sa2va-i-ray", Description="Ray nodes", VpcId=network)
        self.group = created["GroupId"]
        self.file = folder / "ray-cluster.yaml"
        config = yaml.safe_load(VM_CLUSTER.read_text())
        image = self.ec2.describe_images()["Images"][0]["ImageId"]
        for node in config["available_node_types"].values():
            filled_in = {"ImageId": image, "SecurityGroupIds": [self.group]}
            node["node_config"] |= {name: filled_in[name] for name in filled_in if name in node["node_config"]}
        self.file.write_text(yaml.safe_dump(config))

    def ray(self, *arguments: str) -> None:
        self.python("-m", "ray.scripts.scripts", *arguments, str(self.file))

    def python(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments], env=self.environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def machines(self) -> dict[str, dict]:
        """Running ones by node type."""
        running = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        found = self.ec2.describe_instances(Filters=running)["Reservations"]
        machines = [machine for reservation in found for machine in reservation["Instances"]]
        return {tags_of(machine)["ray-user-node-type"]: machine for machine in machines}


def tags_of(machine: dict) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in machine["Tags"]}


@pytest.fixture
def account(tmp_path):
    port = free_port()
    log = (tmp_path / "moto.log").open("wb")
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert server.poll() is None, (tmp_path / "moto.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield Account(tmp_path, port)
    finally:
        server.kill()
        server.wait()
        log.close()


def test_a_cluster_is_launched_gets_spot_workers_and_is_taken_down(account):
    account.ray("up", "-y", "--no-config-cache")
    (head,) = account.machines().values()
    assert head["InstanceType"] == "m7i.2xlarge"
    assert head["IamInstanceProfile"]["Arn"].endswith("/sa2va-i-head")
    assert "InstanceLifecycle" not in head  # on demand
    assert tags_of(head).items() >= {"ray-cluster-name": "sa2va-i", "ray-node-type": "head"}.items()
    assert tags_of(head)["ray-node-status"] == "up-to-date"
    assert head["BlockDeviceMappings"][0]["DeviceName"] == "/dev/sda1"

    asked = account.record.read_text()
    (container,) = [line for line in asked.splitlines() if "docker run" in line]
    for option in ("--shm-size=3g", "--env RAY_AUTH_MODE=token", "--volume /var/tmp/ray-spill:/spill"):
        assert option in container
    assert "ray start --head" in asked
    assert "--dashboard-host=127.0.0.1" in asked
    assert str(Path(".ray") / "auth_token") in asked
    assert TOKEN not in asked

    account.python("-c", START_WORKER, str(account.file))
    worker = account.machines()["segmenter"]
    assert worker["InstanceType"] == "g6.2xlarge"
    assert worker["InstanceLifecycle"] == "spot"
    assert worker["IamInstanceProfile"]["Arn"].endswith("/sa2va-i-storage")

    for machine in (head, worker):
        assert [group["GroupId"] for group in machine["SecurityGroups"]] == [account.group]
    rules = account.ec2.describe_security_groups()["SecurityGroups"]
    assert "0.0.0.0/0" not in str([group["IpPermissions"] for group in rules])

    account.ray("down", "-y")
    assert not account.machines()
