"""Where a result comes from: commit, versions, hardware. Flat strings, meant as MLflow tags; nothing personal.

Neither torch nor mmdet is imported: versions come from the installed packages' metadata.
"""

import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from contrastmask.paths import PACKAGE, ROOT
from contrastmask.runtime.gpu import gpu_names

UNKNOWN = "unknown"
DISTRIBUTIONS = {  # the name people know: the name it is published under
    "torch": "torch",
    "torchvision": "torchvision",
    "mmdet": "onedl-mmdetection",
    "mlflow": "mlflow",
}


def provenance() -> dict[str, str]:
    """Facts about code, environment and machine; `unknown` for what cannot be found out."""
    facts = _git(ROOT)
    facts["version.python"] = platform.python_version()
    facts.update({f"version.{name}": _version(published) for name, published in DISTRIBUTIONS.items()})
    facts["env.sha256"] = _file_digest(ROOT / "requirements.lock")
    facts["hw.cpu"] = _cpu_model()
    facts["hw.cores"] = str(os.cpu_count() or UNKNOWN)
    facts["hw.gpu"] = gpu_names()
    facts["platform"] = f"{platform.system()} {platform.machine()}"
    return facts


def code_digest(package: Path = PACKAGE) -> str:
    """16 hex digits over names and contents of all Python files of the package, in a checkout as in a wheel."""
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*.py") if package / "_share" not in path.parents):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


BUT_RESULTS = ("--", ".", ":(exclude)results")  # what was kept of earlier runs changes nothing in this one


def _git(root: Path) -> dict[str, str]:
    """Commit and dirtiness of the repository whose top is `root`, not of one that merely contains it."""
    top = _run_git(root, "rev-parse", "--show-toplevel")
    commit = _run_git(root, "rev-parse", "HEAD")
    if top is None or commit is None or Path(os.fsdecode(top).strip()).resolve() != root:
        return {"git.commit": UNKNOWN, "git.dirty": UNKNOWN}
    facts = {"git.commit": commit.decode().strip(), "git.dirty": "false"}
    status = _run_git(root, "status", "--porcelain", *BUT_RESULTS)
    if status:
        diff = _run_git(root, "diff", "--binary", "HEAD", *BUT_RESULTS) or b""
        facts["git.dirty"] = "true"
        facts["git.diff_sha256"] = hashlib.sha256(status + diff).hexdigest()
    return facts


def _run_git(root: Path, *args: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *args], capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return UNKNOWN


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return UNKNOWN


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or UNKNOWN
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or UNKNOWN
