"""Where files lie: those of a run, and the project's that are no code, in a checkout or where a wheel put them."""

from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
_SHARE = PACKAGE / "_share"  # in a wheel: hatch_build.py fills it
ROOT = _SHARE if _SHARE.is_dir() else PACKAGE.parent
CONFIGS = ROOT / "configs"
SCHEMAS = ROOT / "workflow" / "schemas"


def run_folder(scale: Path, run: str, seed: int) -> Path:
    """Everything of one training; `scale` is results/<scale>."""
    return scale / "runs" / run / f"seed{seed}"


def check_place(record: dict[str, Any], folder: Path) -> None:
    """Raise ValueError if a record in the folder of a run is of another run, or another seed: it was copied."""
    here = {"scale": folder.parents[2].name, "run": folder.parent.name, "seed": folder.name.removeprefix("seed")}
    for key, value in here.items():
        if str(record.get(key, value)) != value:
            raise ValueError(f"its {key} is {record[key]!r}, not {value!r}")
