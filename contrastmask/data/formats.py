"""What lies in a folder where no data set was found: COCO files under other names, or another tool's format.

For messages only: a file is told by its name and its first bytes, and nothing is converted.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from contrastmask.data.problems import IMAGES_DIR
from contrastmask.errors import DataError
from contrastmask.runtime.files import parse_person

LOOKED_AT = 20_000  # files
SHOWN = 3
SNIFFED = 1 << 16  # bytes
DATUM = "`datum convert -i FOLDER -if {0} -f coco_instances -o OUT` (pip install datumaro)"


@dataclass(frozen=True)
class Format:
    """A format that is not COCO's: its name, how a file of it is told, and what converts it."""

    name: str
    suffix: str
    pattern: str
    converter: str


FORMATS = (
    Format("VIA's own project or JSON", ".json", r'"_via_settings"|"regions"\s*:', "in VIA: Annotation, Export (COCO)"),
    Format("labelme", ".json", r'"shapes"\s*:', "`labelme2coco FOLDER` (pip install labelme2coco)"),
    Format("Label Studio's own JSON", ".json", r'"(rectangle|polygon|brush)labels"', "in Label Studio: Export, COCO"),
    Format("CVAT XML", ".xml", r"<annotations>", "in CVAT: Export, COCO 1.0, or " + DATUM.format("cvat")),
    Format("PASCAL VOC", ".xml", r"<annotation[ >]", DATUM.format("voc")),
    Format("YOLO", ".txt", r"\A\s*\d+( \d*\.\d+(e-?\d+)?){4,}\s*$", DATUM.format("yolo")),
)


def what_is_here(root: Path) -> list[str]:
    """Lines for a message: what a folder holds instead of a data set, and what to do with it."""
    if not root.is_dir():
        return ["There is no such folder." if not root.exists() else "It is not a folder."]
    files, coco = _files(root), coco_files(root)
    lines = []
    if coco:
        lines.append(f"There are COCO files under other names: {_some(coco, root)}")
        if len(coco) == 1:
            lines.append(
                f"For train and val, split it: `contrastmask split-data {coco[0]}`, then `contrastmask init {root}`"
            )
        else:
            lines.append(f"Say where each lies: `contrastmask init {root}`, or {IMAGES_DIR}")
        return lines
    for format in FORMATS:
        found = [
            path for path in files if path.suffix == format.suffix and re.search(format.pattern, _head(path), re.M)
        ]
        if found:
            lines.append(f"There are files of another format, {format.name}: {_some(found, root)}")
            lines.append(f"Convert them to COCO's: {format.converter}")
            return lines
    json_files = [path for path in files if path.suffix == ".json"]
    if json_files:
        keys = [f"{path.relative_to(root)} ({_keys(path)})" for path in json_files[:SHOWN]]
        lines.append(
            f"There are JSON files with other keys than COCO's images, annotations, categories: {'; '.join(keys)}"
        )
    elif files:
        lines.append(f"There is no annotation file; there are {len(files)} files, such as {_some(files, root)}")
    else:
        lines.append("The folder is empty.")
    return lines


def coco_files(root: Path) -> list[Path]:
    """The files below `root` that hold COCO's three lists."""
    return [path for path in _files(root) if path.suffix == ".json" and is_coco(path)]


def _files(root: Path) -> list[Path]:
    return [path for path in itertools.islice(sorted(root.rglob("*")), LOOKED_AT) if path.is_file()]


def is_coco(path: Path) -> bool:
    """Whether a JSON file holds COCO's three lists."""
    content = _content(path)
    return isinstance(content, dict) and all(
        isinstance(content.get(k), list) for k in ("images", "annotations", "categories")
    )


def _content(path: Path) -> object:
    try:
        return parse_person(path.read_bytes(), path, lambda _: None)
    except (OSError, DataError):
        return None


def _keys(path: Path) -> str:
    content = _content(path)
    if isinstance(content, dict):
        return ", ".join(json.dumps(key, ensure_ascii=False) for key in list(content)[:5]) or "none"
    return "a list" if isinstance(content, list) else "not readable as JSON"


def _head(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(SNIFFED).decode("utf-8", "replace").replace("\0", "")
    except OSError:
        return ""


def _some(paths: list[Path], root: Path) -> str:
    shown = ", ".join(str(path.relative_to(root)) for path in paths[:SHOWN])
    return shown + (f", … ({len(paths)} files)" if len(paths) > SHOWN else "")
