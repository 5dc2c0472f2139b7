"""The file for `ray up` against Ray's own schema and rules."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from cluster_files import VM_CLUSTER, load

STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


def schema() -> dict:
    import ray.autoscaler

    return json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


def test_file_follows_rays_schema():
    jsonschema.validate(load(VM_CLUSTER), schema())


def test_the_schema_check_notices_a_misspelt_field():
    spoilt = copy.deepcopy(load(VM_CLUSTER)) | {"idle_timeout_minute": 5}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, schema())


def test_ray_accepts_the_file_and_its_defaults_bring_no_surprises():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(VM_CLUSTER.read_text()))
    validate_config(config)
    # Ray's defaults would install its own packages into the image and open the dashboard.
    assert not [c for key in ("setup_commands", "head_setup_commands", "worker_setup_commands") for c in config[key]]
    assert "0.0.0.0" not in json.dumps(config["head_start_ray_commands"])


def test_head_has_no_gpu_and_workers_come_and_go_on_spot():
    config = load(VM_CLUSTER)
    types = dict(config["available_node_types"])
    head = types.pop(config["head_node_type"])
    assert not head["resources"].get("GPU")
    assert "InstanceMarketOptions" not in head["node_config"]
    for worker in types.values():
        assert worker["resources"]["GPU"] >= 1
        assert worker["min_workers"] == 0
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert sum(worker["max_workers"] for worker in types.values()) <= config["max_workers"]


@pytest.mark.parametrize("key", STARTS)
def test_every_node_starts_with_token_and_bounded_object_store(key):
    config = load(VM_CLUSTER)
    command = " ".join(config[key])
    assert "RAY_AUTH_MODE=token" in command
    memory = int(command.split("--object-store-memory=")[1].split()[0])
    shared = next(o for o in config["docker"]["run_options"] if o.startswith("--shm-size="))
    assert memory < int(shared.removeprefix("--shm-size=").removesuffix("g")) * 2**30
    spill = command.split("--object-spilling-directory=")[1].split()[0]
    assert any(o.startswith("--volume") and o.endswith(f":{spill}") for o in config["docker"]["run_options"])


def test_ray_makes_no_security_group_because_its_own_is_open_to_everybody():
    config = load(VM_CLUSTER)
    assert "security_group" not in config["provider"]
    for node in config["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"]
    assert "--dashboard-host=127.0.0.1" in " ".join(config["head_start_ray_commands"])


def test_the_token_is_a_file_and_no_secret_is_in_the_text():
    config = load(VM_CLUSTER)
    assert "/home/ray/.ray/auth_token" in config["file_mounts"]
    assert "--env RAY_AUTH_TOKEN_PATH=/home/ray/.ray/auth_token" in config["docker"]["run_options"]
    text = VM_CLUSTER.read_text()
    assert not [word for word in ("RAY_AUTH_TOKEN=", "AWS_SECRET", "aws_secret") if word in text]
