"""Where the project's files lie that are no code: beside the package in a checkout, inside it where a wheel put it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_SHARE = PACKAGE / "_share"  # hatch_build.py fills it
ROOT = _SHARE if _SHARE.is_dir() else PACKAGE.parent
CONFIGS = ROOT / "configs"
SCHEMAS = ROOT / "workflow" / "schemas"
