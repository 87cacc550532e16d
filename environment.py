"""Make the environment of requirements.lock: `python environment.py FOLDER`. The Makefile and the Dockerfile call this.

pip fetches uv, whose hash is in the lock; uv fetches the rest by their hashes, several times as fast as pip would. What
was there before is replaced. FOLDER/bin/.ready is written last, so a set-up that was interrupted is made anew.

Nothing newer than Python 3.6 is used in this file, so that an old Python gets as far as the line that says so.
"""

import ast
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "requirements.lock"
PYTHONS = ((3, 11), (3, 12), (3, 13))  # for each of them the lock resolves to the same pins
SAME_SETTING = {  # pip's name: uv's
    "index-url": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "extra-index-url": ("UV_INDEX", "UV_EXTRA_INDEX_URL"),
    "find-links": ("UV_FIND_LINKS",),
    "trusted-host": ("UV_INSECURE_HOST",),
    "cert": ("SSL_CERT_FILE",),
    "proxy": ("ALL_PROXY", "HTTPS_PROXY"),
    "timeout": ("UV_HTTP_TIMEOUT",),
}


def main(folder: Path, project: bool) -> None:
    check_python()
    with LOCK.open("a") as lock:  # two `make` at once: the second waits, and finds the work done
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "bin" / ".ready"
        if is_current(ready):
            return
        start = time.monotonic()
        say(f"environment: {folder}, Python {sys.version.split()[0]}")
        make_venv(folder)
        pins = LOCK.read_text().count("==")
        say(f"packages: {pins} pins of {LOCK.name}, about 3 GB where nothing is cached")
        install(folder, project)
        ready.write_text(f"{HERE}\n")
        say(f"done in {time.monotonic() - start:.0f} s")


def check_python() -> None:
    """Exit with one line if this Python cannot make the environment."""
    this = sys.version_info[:2]
    name = f"Python {this[0]}.{this[1]}"
    if this not in PYTHONS:
        known = [f"python{major}.{minor}" for major, minor in PYTHONS]
        there = next(filter(shutil.which, known), known[0])
        sys.exit(f"Python 3.11, 3.12 or 3.13 is needed, and {sys.executable} is {name}: make PYTHON={there}")
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        sys.exit(f"{name} has no venv module: apt-get install python{this[0]}.{this[1]}-venv, or make PYTHON=<another>")


def is_current(ready: Path) -> bool:
    """Whether the environment was finished, for the files as they are now, in this place (venvs cannot be moved)."""
    if not ready.exists() or ready.read_text().rstrip("\n") != str(HERE):
        return False
    return ready.stat().st_mtime >= max((HERE / name).stat().st_mtime for name in (LOCK.name, "pyproject.toml"))


def make_venv(folder: Path) -> None:
    run("venv", [sys.executable, "-m", "venv", "--clear", str(folder)])


def install(folder: Path, project: bool) -> None:
    """Everything in the lock, and the project if asked for.

    --no-deps: the lock is complete, and leaves out opencv-python on purpose (Makefile).
    """
    python, uv = str(folder / "bin" / "python"), str(folder / "bin" / "uv")
    env = with_index_settings(python, dict(os.environ))
    only_uv = folder / "uv.txt"
    only_uv.write_text(pin_of("uv"))
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    run("pip", [*pip, "-r", str(only_uv)], env)

    env["UV_CACHE_DIR"], own = cache_folder(uv, folder, env)
    quick = [uv, "pip", "install", "--quiet", "--python", python, "--no-deps"]
    # bytecode: otherwise every process would compile all of torch where nothing may be written beside it
    run("uv", [*quick, "--compile-bytecode", "--require-hashes", "-r", str(LOCK)], env)
    if project:
        run("uv", [*quick, "--no-build-isolation", "--editable", str(HERE)], env)
    if own:
        shutil.rmtree(env["UV_CACHE_DIR"])


def pin_of(name: str) -> str:
    """The lines of one package in the lock: its pin and its hashes."""
    lines = LOCK.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next(i for i in range(start, len(lines)) if not lines[i].endswith("\\"))
    return "\n".join(lines[start : end + 1]) + "\n"


def with_index_settings(python: str, env: dict) -> dict:
    """`env`, in which pip and uv look for packages in the same places: each is told what only the other was.

    pip's settings are those of its files and of PIP_*, uv's those of UV_*; where both were told, both stay as they are.
    """
    told = pip_settings(python, env)
    for setting, names in SAME_SETTING.items():
        of_uv = next((env[name] for name in names if env.get(name)), None)
        if of_uv is None and setting in told:
            separator = "," if setting == "find-links" else " "
            env[names[0]] = separator.join(told[setting].split())
        elif of_uv is not None and setting not in told and names[0].startswith("UV_"):
            env["PIP_" + setting.replace("-", "_").upper()] = of_uv.replace(",", " ")
    # as pip does: of all places, not only of the first that knows the name. Every file is checked by its hash
    env.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return env


def pip_settings(python: str, env: dict) -> dict:
    """{setting: value} that pip would use for an installation."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], env=env, stdout=subprocess.PIPE, check=True)
    found = {}
    for line in listed.stdout.decode().splitlines():
        key, _, value = line.partition("=")
        section, _, setting = key.rpartition(".")
        found[section, setting] = ast.literal_eval(value)
    merged = {}
    for section in ("global", "install", ":env:"):  # the later one wins
        merged.update({setting: value for (where, setting), value in found.items() if where == section})
    return merged


def cache_folder(uv: str, folder: Path, env: dict) -> tuple:
    """uv's cache, and whether it is one of this environment alone, as where a home cannot be written to."""
    asked = subprocess.run([uv, "cache", "dir"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    place = asked.stdout.decode().strip()
    try:
        os.makedirs(place, exist_ok=True)
        if os.access(place, os.W_OK):
            return place, False
    except OSError:
        pass
    return str(folder / "cache"), True


def run(name: str, command: list, env: "dict | None" = None) -> None:
    if subprocess.run(command, env=env).returncode != 0:
        sys.exit(f"set-up stopped: {name} failed, and said why above; the next `make` starts it anew")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), project="--without-project" not in sys.argv)
