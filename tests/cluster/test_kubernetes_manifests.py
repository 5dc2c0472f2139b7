"""The Kubernetes manifests against KubeRay's own schema, Ray's own reading of them, and our rules."""

import copy
import gzip
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from cluster_files import NETWORK_POLICY, RAYCLUSTER, RAYJOB, SCHEMAS, cluster_specs, groups, load

KINDS = {RAYCLUSTER: "ray.io_rayclusters.yaml.gz", RAYJOB: "ray.io_rayjobs.yaml.gz"}


def strict(schema: Any) -> Any:
    """Kubernetes silently drops fields it does not know; here they are errors, except where the schema keeps them."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    keeps_unknown = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not keeps_unknown:
        result["additionalProperties"] = False
    return result


@cache
def validator(file: str) -> jsonschema.Validator:
    path = SCHEMAS / file
    if not path.is_file():
        pytest.skip(f"KubeRay's schemas are not at {SCHEMAS}")
    definition = yaml.safe_load(gzip.decompress(path.read_bytes()))
    version = next(v for v in definition["spec"]["versions"] if v["name"] == "v1")
    return jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))


@pytest.mark.parametrize("path", KINDS, ids=lambda path: path.name)
def test_manifest_follows_kuberays_schema(path):
    errors = [f"{e.json_path}: {e.message}" for e in validator(KINDS[path]).iter_errors(load(path))]
    assert not errors


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda spec: spec.update(authOption={"mode": "token"}), id="misspelt-field"),
        pytest.param(lambda spec: spec["authOptions"].update(mode="tokens"), id="unknown-mode"),
        pytest.param(lambda spec: spec["headGroupSpec"].pop("template"), id="missing-field"),
        pytest.param(
            lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].update(imagePulPolicy="x"),
            id="misspelt-field-deep-in-a-pod",
        ),
        pytest.param(lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas="4"), id="text-for-a-number"),
    ],
)
def test_the_schema_check_notices_mistakes(spoil):
    manifest = copy.deepcopy(load(RAYCLUSTER))
    spoil(manifest["spec"])
    assert list(validator(KINDS[RAYCLUSTER]).iter_errors(manifest))


def test_rayjob_runs_the_cluster_of_raycluster():
    assert load(RAYJOB)["spec"]["rayClusterSpec"] == load(RAYCLUSTER)["spec"]


def test_rayjob_gives_options_that_annotate_understands():
    from pipeline.cli.annotate import Options
    from pipeline.cli.options import parse

    program, *options = load(RAYJOB)["spec"]["entrypoint"].split()[1:]
    assert program == "/app/jobs/annotate.py"
    chosen = parse(Options, options, prog="annotate", description="")
    assert (chosen.ground_on, chosen.segment_on) == ("A100", "L4")
    assert chosen.placement_timeout_s >= 300  # GPU nodes need minutes to come


def test_rays_autoscaler_reads_types_and_bounds_of_the_workers():
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    cluster = copy.deepcopy(load(RAYCLUSTER))
    cluster["metadata"]["namespace"] = "default"
    types = _derive_autoscaling_config_from_ray_cr(cluster)["available_node_types"]
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert types["grounders"]["resources"].items() >= {"GPU": 1, "CPU": 8, "accelerator_type:A100": 1}.items()
    assert types["segmenters"]["resources"].items() >= {"GPU": 1, "CPU": 8, "accelerator_type:L4": 1}.items()
    assert (types["segmenters"]["min_workers"], types["segmenters"]["max_workers"]) == (0, 16)


@pytest.mark.parametrize("spec", cluster_specs().values(), ids=cluster_specs())
def test_cluster_is_closed_and_its_pods_are_confined(spec):
    assert spec["authOptions"]["mode"] == "token"
    head = spec["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert head["enableIngress"] is False
    assert not head["template"]["spec"]["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
    for group in groups(spec):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod.get("hostNetwork")
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert not [port for port in container["ports"] if "hostPort" in port]
            # secrets by reference only
            assert not [e for e in container.get("env", []) if "value" in e and "KEY" in e["name"]]
            assert container["envFrom"][0]["secretRef"]["name"]
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


@pytest.mark.parametrize("spec", cluster_specs().values(), ids=cluster_specs())
def test_object_store_fits_shared_memory_and_spills_to_a_volume(spec):
    for group in groups(spec):
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["containers"][0]["volumeMounts"]}
        parameters = group["rayStartParams"]
        shared = mounts["/dev/shm"]["emptyDir"]
        assert shared["medium"] == "Memory"
        assert int(parameters["object-store-memory"]) < int(shared["sizeLimit"].removesuffix("Gi")) * 2**30
        assert "medium" not in mounts[parameters["object-spilling-directory"]]["emptyDir"]


@pytest.mark.parametrize("spec", cluster_specs().values(), ids=cluster_specs())
def test_health_pages_of_the_probes_need_no_token(spec):
    from ray.dashboard import http_server_agent

    for group in groups(spec):
        command = group["template"]["spec"]["containers"][0]["livenessProbe"]["exec"]["command"][-1]
        pages = [word.split("52365")[1] for word in command.split() if ":52365/" in word]
        assert pages
        assert set(pages) <= set(http_server_agent.PUBLIC_EXACT_PATHS)


def test_network_policy_covers_every_pod_and_opens_nothing_to_the_world():
    policy = load(NETWORK_POLICY)["spec"]
    wanted = policy["podSelector"]["matchLabels"].items()
    pods = [group["template"] for spec in cluster_specs().values() for group in groups(spec)]
    for pod in [*pods, load(RAYJOB)["spec"]["submitterPodTemplate"]]:
        assert wanted <= pod["metadata"]["labels"].items()
    assert policy["policyTypes"] == ["Ingress"]
    for rule in policy["ingress"]:
        assert rule["from"]
        assert not [peer for peer in rule["from"] if "ipBlock" in peer or peer == {"namespaceSelector": {}}]
