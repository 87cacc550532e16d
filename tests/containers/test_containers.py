"""Dockerfile and Kubernetes files, as far as they can be checked without a Docker engine and a cluster."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes import client

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "profiles" / "kubernetes"


def instructions(text: str) -> list[tuple[str, str]]:
    """(INSTRUCTION, arguments) of a Dockerfile, with continued lines joined."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (word, rest)
        for word, _, rest in (line.partition(" ") for line in re.sub(r"\\\n *", "", "\n".join(lines)).splitlines())
    ]


def test_the_image_installs_the_lock_and_nothing_else_as_make_does() -> None:
    steps = instructions((ROOT / "Dockerfile").read_text())
    base = next(rest for word, rest in steps if word == "FROM")
    assert base.startswith("python:3.11")
    pips = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    flags = [set(rest.split()) for rest in pips]
    assert len(pips) == 2 and all("--no-deps" in given for given in flags)
    assert {"--require-hashes", "-r", "requirements.lock"} <= flags[0]
    assert {"--no-build-isolation", "--editable", "."} <= flags[1]
    make = (ROOT / "Makefile").read_text()
    assert "--no-deps --require-hashes -r requirements.lock" in make and "--no-build-isolation --editable ." in make


def test_the_image_copies_only_what_is_there() -> None:
    copies = [rest.split()[:-1] for word, rest in instructions((ROOT / "Dockerfile").read_text()) if word == "COPY"]
    assert copies == [["requirements.lock"], ["."]]
    assert all((ROOT / source).exists() for sources in copies for source in sources)
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert {".venv", "results/*", ".snakemake"} <= set(ignored)


def manifests() -> list[dict[str, Any]]:
    texts = [(PROFILE / name).read_text() for name in ("volumes.yaml", "job.yaml")]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text)]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest["metadata"]["name"])
def test_manifests_are_what_the_api_knows(manifest: dict[str, Any]) -> None:
    """Read as the API's objects and written again: an unknown or misplaced key would be lost on the way."""
    api, kind = client.ApiClient(), f"V1{manifest['kind']}"
    read = api.deserialize(SimpleNamespace(data=json.dumps(manifest)), kind)
    assert api.sanitize_for_serialization(read) == manifest


def test_the_job_uses_the_volumes_and_the_profile_that_are_there() -> None:
    *claims, job = manifests()
    pod = job["spec"]["template"]["spec"]
    used = {v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v}
    assert used == {claim["metadata"]["name"] for claim in claims}
    volumes = {volume["name"] for volume in pod["volumes"]}
    containers = [*pod["initContainers"], *pod["containers"]]
    assert {mount["name"] for container in containers for mount in container["volumeMounts"]} == volumes
    assert len({container["image"] for container in containers}) == 1
    main = pod["containers"][0]
    assert (ROOT / main["command"][2] / "profile.yaml").exists()
    gpus = main["resources"]["limits"]["nvidia.com/gpu"]
    assert main["resources"]["requests"]["nvidia.com/gpu"] == gpus and f"gpus_per_run={gpus}" in main["args"]
