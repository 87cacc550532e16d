"""The Python files under configs/: plain assignments in mmengine's dialect, read without mmengine.

Snakemake reads them for every job, and importing mmengine takes seconds, since it imports torch.
"""

import copy
import runpy
from functools import cache
from pathlib import Path
from typing import Any


@cache
def fragment(path: Path) -> dict[str, Any]:
    """The names that a fragment assigns, on top of those of its `_base_` (a file beside it)."""
    own = {k: v for k, v in runpy.run_path(str(path)).items() if k == "_base_" or not k.startswith("_")}
    base = own.pop("_base_", None)
    return merge(fragment(path.parent / base), own) if base else own


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` on top, nested mappings merged key by key; neither argument is touched.

    As in mmengine, a mapping with `_delete_: true` replaces the old one instead.
    """
    merged = {key: value if key in changes else copy.deepcopy(value) for key, value in base.items()}
    for key, value in changes.items():
        if isinstance(value, dict):
            keep = not value.get("_delete_") and isinstance(merged.get(key), dict)
            merged[key] = merge(merged[key] if keep else {}, {k: v for k, v in value.items() if k != "_delete_"})
        else:
            merged[key] = copy.deepcopy(value)
    return merged
