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


def test_the_image_is_made_by_the_set_up_of_make_and_nothing_else() -> None:
    steps = instructions((ROOT / "Dockerfile").read_text())
    runs = [rest for word, rest in steps if word == "RUN" and "apt-get" not in rest]
    assert "python environment.py /opt/contrastmask --without-project" in runs[0]
    assert runs[1:] == [
        "uv pip install --no-cache --python /opt/contrastmask --no-deps --no-build-isolation --editable ."
    ]
    assert "/opt/contrastmask/bin:$PATH" in next(rest for word, rest in steps if word == "ENV")
    assert "environment.py .venv" in (ROOT / "Makefile").read_text()


def test_the_image_is_nobody_in_particular_on_a_base_that_can_be_pinned() -> None:
    steps = instructions((ROOT / "Dockerfile").read_text())
    assert [rest for word, rest in steps if word in ("ARG", "FROM")] == ["BASE=python:3.11-slim-bookworm", "${BASE}"]
    user = next(rest for word, rest in steps if word == "USER")
    assert user == "1000:1000" and steps[-1][0] == "CMD"
    names = next(rest for word, rest in steps if word == "ENV")
    assert {"HOME=/tmp", "LOGNAME=contrastmask"} <= set(names.split())  # for a uid that has no name and no home
    pod = manifests()[-1]["spec"]["template"]["spec"]
    assert {f"{pod['securityContext'][key]}" for key in ("runAsUser", "runAsGroup", "fsGroup")} == {"1000"}


def test_the_image_copies_only_what_is_there() -> None:
    copies = [rest.split()[:-1] for word, rest in instructions((ROOT / "Dockerfile").read_text()) if word == "COPY"]
    assert copies == [["environment.py", "requirements.lock"], ["."]]
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
