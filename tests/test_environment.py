"""The pins: one lock, what the project imports is in it, and nothing in it points anywhere."""

import re
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ]+) ", LOCK, re.M))


def test_every_pin_has_hashes_and_no_address() -> None:
    assert len(PINS) > 100
    for block in re.split(r"\n(?=\S)", LOCK.strip()):
        assert "--hash=sha256:" in block, block
    assert not re.search(r"https?://|file:|--index|--find-links|@ ", LOCK)


def test_what_is_installed_is_what_is_pinned() -> None:
    assert {name: version(name) for name in PINS} == PINS


def test_direct_requirements_are_in_the_lock() -> None:
    lines = [line for line in (ROOT / "requirements.in").read_text().splitlines() if line and line[0] != "#"]
    assert {re.split(r"[=<>]", line)[0] for line in lines} <= set(PINS)


def test_only_the_headless_opencv() -> None:
    assert "opencv-python" not in PINS and "opencv-python-headless" in PINS


def test_conda_installs_the_lock() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "python=3.11" in dependencies
    assert {"pip": ["-r requirements.lock", "-e ."]} in dependencies
