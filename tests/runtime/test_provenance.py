"""Facts are flat strings, found without importing torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.output import stamp
from contrastmask.runtime import provenance as module
from contrastmask.runtime.provenance import code_digest, provenance


def test_facts_are_flat_strings_without_torch() -> None:
    code = (
        "import sys; from contrastmask.runtime.provenance import provenance\n"
        "facts = provenance(); assert all(isinstance(v, str) and v for v in facts.values()), facts\n"
        "assert not {'torch', 'mmdet', 'mlflow'} & set(sys.modules); print(facts['version.torch'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=module.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() not in ("", "unknown") and done.stderr == ""


def test_git_state(tmp_path: Path, monkeypatch) -> None:
    def git(*args: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *args], check=True, capture_output=True)

    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert provenance()["git.commit"] == "unknown"
    git("init")
    (tmp_path / "a.py").write_text("a = 1\n")
    git("add", "a.py")
    git("commit", "-m", "first")
    clean = provenance()
    assert len(clean["git.commit"]) == 40 and clean["git.dirty"] == "false" and "git.diff_sha256" not in clean
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "kept.json").write_text("{}")
    assert provenance()["git.dirty"] == "false"  # what runs leave is no change of the code
    (tmp_path / "a.py").write_text("a = 2\n")
    dirty = provenance()
    assert dirty["git.dirty"] == "true" and len(dirty["git.diff_sha256"]) == 64
    assert stamp(dirty) | {"date": ""} == {
        "commit": dirty["git.commit"][:12],
        "dirty": "true",
        "python": dirty["version.python"],
        "date": "",
    }


def test_the_code_digest_sees_content_and_names(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("a = 1\n")
    first = code_digest(tmp_path)
    assert len(first) == 16 and code_digest(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    second = code_digest(tmp_path)
    (tmp_path / "b.py").write_text("a = 2\n")
    assert len({first, second, code_digest(tmp_path)}) == 3
