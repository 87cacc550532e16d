"""The pins: one lock, what the project imports is in it, and nothing in it points anywhere. And who installs them."""

import ast
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^ ]+) ", LOCK, re.M))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def environment() -> ModuleType:
    """environment.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_pin_has_hashes_and_no_address() -> None:
    assert len(PINS) > 100
    for block in re.split(r"\n(?=[^\s#])", LOCK.split("\n#")[0].strip()):
        assert "--hash=sha256:" in block, block
    assert not re.search(r"https?://|file:|--index|--find-links|@ ", LOCK)


def test_what_is_installed_is_what_is_pinned() -> None:
    assert {name: version(name) for name in PINS} == PINS


def test_direct_requirements_are_in_the_lock() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    names = {re.split(r"[=<>\[]", line)[0] for line in lines} - {"contrastmask"}
    assert {"torch", "snakemake", "mlflow", "pandas", "uv"} <= names <= set(PINS)


def not_asked_for(files: Iterable[Path], asked: set[str]) -> set[str]:
    """Of the modules that these files import, anywhere in them, those of no distribution in `asked`."""
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    owners = packages_distributions()
    return {name for name in names & set(owners) - {"contrastmask"} if asked.isdisjoint(map(str.lower, owners[name]))}


def test_what_the_package_imports_is_asked_for() -> None:
    files = set((ROOT / "contrastmask").rglob("*.py"))
    extra = {path for path in files if path.relative_to(ROOT / "contrastmask").parts[0] in ("tracking", "report")}
    inference = ROOT / "contrastmask" / "inference"
    extra |= {inference / "log_model.py", inference / "mlflow_model.py"}  # for MLflow alone
    optional = PROJECT["optional-dependencies"]
    core, more = (
        {re.split(r"[=<>\[]", line)[0] for line in lines}
        for lines in (PROJECT["dependencies"], [*optional["track"], *optional["report"]])
    )
    assert not_asked_for(files - extra, core) == set()
    assert not_asked_for(extra, core | more) == set()


def test_only_the_headless_opencv() -> None:
    assert "opencv-python" not in PINS and "opencv-python-headless" in PINS


def test_conda_installs_the_lock() -> None:
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "python=3.11" in dependencies
    assert {"pip": ["-r requirements.lock"]} in dependencies


def test_everybody_names_the_same_pythons(environment: ModuleType) -> None:
    first, last = environment.PYTHONS[0], environment.PYTHONS[-1]
    assert PROJECT["requires-python"] == f">={first[0]}.{first[1]},<{last[0]}.{last[1] + 1}"
    resolved = re.search(r"--python-version (\S+).*?for python in (.*?);", (ROOT / "Makefile").read_text(), re.S)
    assert resolved and [resolved[1], *resolved[2].split()] == [f"{a}.{b}" for a, b in environment.PYTHONS]


@pytest.mark.parametrize("other", [(3, 10), (3, 14), (3, 8)])
def test_another_python_is_told_in_one_line(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, other: tuple[int, int]
) -> None:
    monkeypatch.setattr(sys, "version_info", (*other, 0, "final", 0))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "python3.12" else None)
    with pytest.raises(SystemExit) as stop:
        environment.check_python()
    line = str(stop.value)
    assert f"is Python {other[0]}.{other[1]}: make PYTHON=python3.12" in line and "\n" not in line
    assert "3.11, 3.12 or 3.13 is needed" in line and sys.executable in line


def test_a_python_without_venv_is_told_which_package_has_it(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else name)
    with pytest.raises(SystemExit, match=r"no venv module: apt-get install python3\.1[123]-venv"):
        environment.check_python()


def test_uv_itself_is_installed_by_its_hashes(environment: ModuleType) -> None:
    first, *hashes = environment.pin_of("uv").splitlines()
    assert first.startswith(f"uv=={PINS['uv']} ") and len(hashes) > 3
    assert all(line.strip().startswith("--hash=sha256:") for line in hashes)


def test_pip_and_uv_look_in_the_same_places(environment: ModuleType, tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n  https://b.example/simple\n"
        "  https://c.example/simple\n[install]\nfind-links = /one /two\n"
    )
    env = environment.with_index_settings(sys.executable, {**bare, "PIP_INDEX_URL": "https://d.example/simple"})
    assert env["UV_DEFAULT_INDEX"] == "https://d.example/simple"  # as with pip, a variable wins over a file
    assert env["UV_INDEX"] == "https://b.example/simple https://c.example/simple"
    assert env["UV_FIND_LINKS"] == "/one,/two" and env["UV_INDEX_STRATEGY"] == "unsafe-best-match"

    env = environment.with_index_settings(sys.executable, {**bare, "UV_INDEX_URL": "https://u.example/simple"})
    assert "UV_DEFAULT_INDEX" not in env, "what uv was told stays"

    (tmp_path / "pip.conf").write_text("")
    env = environment.with_index_settings(sys.executable, {**bare, "UV_DEFAULT_INDEX": "https://u.example/simple"})
    assert env["PIP_INDEX_URL"] == "https://u.example/simple", "pip has to find uv"


def test_a_home_that_cannot_be_written_to_gets_a_cache_of_its_own(environment: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    env = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "file" / "cache")}
    uv = shutil.which("uv", path=Path(sys.executable).parent) or pytest.fail("uv is in the lock, and not installed")
    assert environment.cache_folder(uv, tmp_path / "venv", env) == (str(tmp_path / "venv" / "cache"), True)
    env["UV_CACHE_DIR"] = str(tmp_path / "good")
    assert environment.cache_folder(uv, tmp_path / "venv", env) == (str(tmp_path / "good"), False)


def test_an_environment_is_current_only_where_and_as_it_was_made(environment: ModuleType, tmp_path: Path) -> None:
    ready = tmp_path / ".ready"
    assert not environment.is_current(ready)
    ready.write_text("/somewhere/else\n")
    assert not environment.is_current(ready), "scripts in a venv name its folder"
    ready.write_text(f"{ROOT}\n")
    assert environment.is_current(ready)
    os.utime(ready, (0, 0))
    assert not environment.is_current(ready), "older than the lock"


def clone(folder: Path) -> Path:
    """What git would bring: the files of the checkout without what is ignored."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def by_hand(**variables: str) -> dict[str, str]:
    """The environment of who types `make`; a test may be started by `make test`, and an inner make says so."""
    inner = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHONPATH")
    return {key: value for key, value in os.environ.items() if key not in inner} | variables


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=by_hand(**variables), capture_output=True, text=True, check=False
    )


def test_make_without_a_python_says_so(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "environment.py"):
        shutil.copy(ROOT / name, tmp_path)
    done = make(tmp_path, "tables", "PYTHON=python3.99")
    assert done.returncode != 0
    assert done.stdout == "there is no python3.99; Python 3.11, 3.12 or 3.13 is needed: make PYTHON=<its name>\n"
    assert not (tmp_path / ".venv").exists()


@pytest.mark.slow
def test_a_set_up_that_was_interrupted_is_made_anew_also_in_a_folder_with_a_space(tmp_path: Path) -> None:
    folder = clone(tmp_path / "a folder")
    ready, home = ".venv/bin/.ready", tmp_path / "home"
    home.mkdir()
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    variables = {"HOME": str(home), "UV_CACHE_DIR": cache}  # an empty home, without downloading all again

    with subprocess.Popen(
        ["make", ready, f"PYTHON={sys.executable}"],
        cwd=folder, env=by_hand(**variables), stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as first:  # fmt: skip
        assert first.stdout is not None
        assert next(first.stdout).startswith("environment: .venv") and next(first.stdout).startswith("packages: ")
        while not list(folder.glob(".venv/lib/*/site-packages/torch")):
            assert first.poll() is None
        os.killpg(first.pid, signal.SIGKILL)
    assert not (folder / ready).exists()

    said = make(folder, ready, f"PYTHON={sys.executable}", **variables)
    assert said.returncode == 0, said.stderr
    assert [line.split()[0] for line in said.stdout.splitlines()] == ["environment:", "packages:", "done"]
    assert said.stderr == ""
    assert "up to date" in make(folder, ready, **variables).stdout
    shown = subprocess.run([folder / ".venv/bin/contrastmask", "--help"], cwd=home, capture_output=True, text=True)
    assert shown.returncode == 0 and "Usage: contrastmask" in shown.stdout


@pytest.mark.slow
def test_the_conda_environment_can_be_created(tmp_path: Path) -> None:
    """What conda does with the list under `pip:`, and what the head of the file says to do before and after it."""
    text = (ROOT / "environment.yml").read_text()
    listed = next(entry["pip"] for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, dict))
    assert "PIP_NO_DEPS=1 conda env create -f environment.yml" in text
    after = re.search(r"^#   (pip install .*)$", text, re.M)
    folder = clone(tmp_path / "clone")
    (folder / "condaenv.requirements.txt").write_text("\n".join(listed) + "\n")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True)
    pip = [str(tmp_path / "env" / "bin" / "python"), "-m", "pip"]
    quick = {**os.environ, "PIP_NO_DEPS": "1", "PIP_NO_COMPILE": "1"}
    subprocess.run(
        [*pip, "install", "-q", "-U", "-r", "condaenv.requirements.txt", "--exists-action=b"],
        cwd=folder, env=quick, check=True,
    )  # fmt: skip
    assert after is not None
    subprocess.run([*pip, *after[1].split()[1:]], cwd=folder, check=True)
    shown = subprocess.run([tmp_path / "env/bin/contrastmask", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert shown.returncode == 0 and "Usage: contrastmask" in shown.stdout
