"""Where the project's files lie that are no code."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
SCHEMAS = ROOT / "workflow" / "schemas"
