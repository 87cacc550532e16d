"""Where files lie: those of a run, and the project's that are no code, in a checkout or where a wheel put them."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_SHARE = PACKAGE / "_share"  # in a wheel: hatch_build.py fills it
ROOT = _SHARE if _SHARE.is_dir() else PACKAGE.parent
CONFIGS = ROOT / "configs"
SCHEMAS = ROOT / "workflow" / "schemas"


def run_folder(scale: Path, run: str, seed: int) -> Path:
    """Everything of one training; `scale` is results/<scale>."""
    return scale / "runs" / run / f"seed{seed}"
