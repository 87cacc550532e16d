"""The wheel, away from the checkout: what is in it, and that its command runs in an empty folder."""

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from click.testing import CliRunner
from inference.made import RUN, picture

from contrastmask.cli import main
from contrastmask.runtime.provenance import code_digest
from environment import with_index_settings

ROOT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder that has the wheel's content as site-packages would."""
    folder = wheel.parent / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_the_wheel_holds_the_package_and_what_it_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    files = [name for name in tracked.split("\0") if name and (ROOT / name).exists()]
    shared = [name for name in files if name.split("/")[0] in ("configs", "profiles", "workflow", "Snakefile")]
    package = [name for name in files if name.startswith("contrastmask/")]
    assert names >= {*package, *(f"contrastmask/_share/{name}" for name in shared)}
    assert {name.split("/")[0] for name in names} == {"contrastmask"}
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_wheel_asks_for_what_it_imports(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        head = Parser().parsestr(archive.read(name).decode())
    assert head["Requires-Python"] == "<3.14,>=3.11"
    assert set(head.get_all("Provides-Extra") or ()) == {"track", "report", "workflow", "dev"}
    assert "onedl-mmdetection==3.5.1" in (head.get_all("Requires-Dist") or ())


def run(installed: Path, empty: Path, *arguments: object, module: str = "contrastmask") -> Done:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, check=False)


def test_the_command_finds_its_settings_in_an_empty_folder(installed: Path, empty: Path) -> None:
    assert "Usage: " in run(installed, empty, "--help").stdout
    planned = run(installed, empty, "plan", "table7")
    assert planned.returncode == 0 and "contrastmask-paper_r50_1x_nonvoc2voc" in planned.stdout, planned.stderr
    assert list(empty.iterdir()) == []


def test_the_workflow_runs_from_the_wheel(installed: Path, empty: Path) -> None:
    snakefile = installed / "contrastmask" / "_share" / "Snakefile"
    dry = run(installed, empty, "--dry-run", "--snakefile", snakefile, "table7", module="snakemake")
    assert dry.returncode == 0 and "table7" in dry.stdout, dry.stderr


def test_calibration_says_that_it_needs_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.calibrate", None)  # as if it could not be found
    refused = CliRunner().invoke(main, ["plan", "table7", "--calibrate"])
    assert refused.exit_code == 2 and "in a checkout of the project" in refused.stderr


def test_an_installed_package_predicts(installed: Path, empty: Path, results: Path) -> None:
    photo = picture(empty.parent / "photo.jpg")
    done = run(installed, empty, "predict", photo, "--run", RUN, "--results", results)
    assert done.returncode == 0, done.stderr
    assert (empty / "predictions" / "results.json").exists()


def test_a_checkout_and_its_wheel_are_the_same_code(installed: Path) -> None:
    assert code_digest(installed / "contrastmask") == code_digest(ROOT / "contrastmask")


@pytest.mark.slow
def test_pip_install_of_the_wheel_brings_what_prediction_needs(wheel: Path, empty: Path, results: Path) -> None:
    """In a fresh environment, without extras; the lock only keeps tomorrow's releases out of this test."""
    environment = empty.parent / "environment"
    uv, env = Path(sys.executable).parent / "uv", with_index_settings(sys.executable, dict(os.environ))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", environment, "--constraints", ROOT / "requirements.lock"]
    subprocess.run([*install, wheel], env=env, check=True)
    # both builds of OpenCV have come, and wrote over each other's files: docs/predict.md
    subprocess.run([*install, "--reinstall", "--no-deps", "opencv-python-headless"], env=env, check=True)
    photo = picture(empty.parent / "photo.jpg")
    command = [environment / "bin" / "contrastmask", "predict", photo, "--run", RUN, "--results", results]
    done = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (empty / "predictions" / "results.json").exists()
