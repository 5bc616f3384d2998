"""The manifests for Kubernetes fit together, and say what docker-compose.yml says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "fixtures" / "kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
LOCUST_TEST = yaml.safe_load((FOLDER / "locusttest.yaml").read_text(encoding="utf-8"))


def manifests() -> Iterator[dict[str, Any]]:
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests() if manifest["kind"] in kinds]


def pods() -> dict[str, dict[str, Any]]:
    """Return the pod of each workload, by its name."""
    return {one["metadata"]["name"]: one["spec"]["template"] for one in of_kind("Deployment", "Job")}


def containers() -> dict[str, dict[str, Any]]:
    return {name: pod["spec"]["containers"][0] for name, pod in pods().items()}


def generated(kind: str) -> dict[str, set[str]]:
    """Return the keys of each config map or secret that kustomize makes."""
    return {
        entry["name"]: {line.partition("=")[0] for line in entry.get("literals", ())}
        for entry in KUSTOMIZATION[f"{kind}Generator"]
    }


def test_every_manifest_is_listed_and_named_once() -> None:
    apart = {"kustomization.yaml", "locusttest.yaml"}
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*KUSTOMIZATION["resources"], *apart}
    names = [(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in manifests()]
    assert len(names) == len(set(names)) > 10
    assert all(
        (FOLDER / file).is_file()
        for entry in KUSTOMIZATION["configMapGenerator"]
        for file in entry.get("files", ())
    )


def test_every_part_of_the_containers_is_there_with_the_same_images() -> None:
    found = containers()
    assert set(found) == {name for name, part in COMPOSE["services"].items() if "profiles" not in part}
    for name, container in found.items():
        assert container["image"] == COMPOSE["services"][name]["image"], name


def test_services_lead_to_ports_of_pods() -> None:
    for service in of_kind("Service"):
        (name,) = service["spec"]["selector"].values()
        pod = pods()[name]
        assert pod["metadata"]["labels"] == service["spec"]["selector"]
        ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    for workload in of_kind("Deployment"):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert workload["spec"]["selector"]["matchLabels"] == labels


def test_what_a_pod_refers_to_is_there() -> None:
    secrets, maps = generated("secret"), generated("configMap")
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    for name, pod in pods().items():
        for source in containers()[name].get("envFrom", ()):
            assert source.get("secretRef", source.get("configMapRef"))["name"] in {**secrets, **maps}
        for variable in containers()[name].get("env", ()):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                assert key["key"] in secrets[key["name"]]
        for volume in pod["spec"].get("volumes", ()):
            assert volume.get("configMap", {"name": "target"})["name"] in maps
            assert volume.get("persistentVolumeClaim", {"claimName": "reports"})["claimName"] in claims


def test_the_load_is_told_what_the_containers_are_told() -> None:
    told = set(COMPOSE["x-target"]) - {"<<"} | set(COMPOSE["x-keys"])
    keys = generated("secret") | generated("configMap")
    master = containers()["locust-master"]
    names = [source.get("secretRef", source.get("configMapRef"))["name"] for source in master["envFrom"]]
    own = {variable["name"] for variable in master["env"]}
    assert own.union(*(keys[name] for name in names)) - {"POSTGRES_PASSWORD"} == told
    target = next(entry for entry in KUSTOMIZATION["configMapGenerator"] if entry["name"] == "target")
    for line in target["literals"]:
        name, _, value = line.partition("=")
        assert COMPOSE["x-target"][name] == value


def test_workers_share_nothing_with_their_master_but_its_port() -> None:
    worker, master = containers()["locust-worker"], containers()["locust-master"]
    assert not {"env", "envFrom", "volumeMounts", "ports"} & set(worker)
    assert not {"environment", "volumes"} & set(COMPOSE["services"]["locust-worker"])
    workers = next(one for one in of_kind("Deployment") if one["metadata"]["name"] == "locust-worker")
    assert f"--expect-workers={workers['spec']['replicas']}" in master["args"]
    assert "--master-bind-host=0.0.0.0" in master["args"]
    assert "--master-host=locust-master" in worker["args"]


def test_no_part_runs_as_root_that_is_ours_or_is_seen_from_outside() -> None:
    for name, pod in pods().items():
        assert pod["spec"]["enableServiceLinks"] is False, "its variables would be taken for ours"
        if containers()[name]["image"] == "stormwatch":
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert all("type" not in service["spec"] for service in of_kind("Service"))
    assert of_kind("Ingress") == []


def test_the_operators_load_is_that_of_the_manifests() -> None:
    assert LOCUST_TEST["apiVersion"] == "locust.io/v2"
    spec, master = LOCUST_TEST["spec"], containers()["locust-master"]
    assert set(spec["master"]["extraArgs"]) <= set(master["args"])
    # The operator gives arguments alone, and the image has no entry point.
    for part in ("master", "worker"):
        assert spec[part]["command"].split() == master["args"][:2]
    assert spec["env"]["variables"] == master["env"]
    sources = [{"secretRef": one} for one in spec["env"]["secretRefs"]]
    assert sources + [{"configMapRef": one} for one in spec["env"]["configMapRefs"]] == master["envFrom"]
    (mount,) = spec["volumeMounts"]
    assert mount.pop("target") == "master"
    assert [mount] == master["volumeMounts"]
    image = KUSTOMIZATION["images"][0]
    assert spec["image"] == f"{image['newName']}:{image['newTag']}"
    assert re.fullmatch(r"\d+", str(spec["worker"]["replicas"]))


def test_the_manifests_are_what_their_schemas_say() -> None:
    # 22 MB of schemas are not worth a locked dependency; without them the tests above are what there is.
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for manifest in manifests():
        validate.validate(manifest, "1.33", strict=True)
