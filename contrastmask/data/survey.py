"""Where train and val of a person's folder lie, however their files are named: for `contrastmask init`."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

from contrastmask.data.dataset import FOLDER_KEYS, find_parts
from contrastmask.data.formats import coco_files, what_is_here
from contrastmask.errors import DataError
from contrastmask.runtime.files import parse_person, read_coco_bytes

#: What tells a part's annotation file, in the order of trust: by a word of its name, or of its folder's.
WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test", "eval")}
SAMPLED = 20  # images of a file that are looked for


def survey(root: Path) -> dict[str, Any]:
    """The `dataset` of a scale for the data under `root`, with absolute `root`.

    Raises:
        DataError: saying what is there instead, and what to do with it.
    """
    root = root.absolute()
    dataset = {"kind": "folder", "root": str(root)}
    try:
        find_parts(dataset, root)
        return dataset
    except DataError:
        files = coco_files(root)
    parts = {part: _file_of(files, part, root) for part in WORDS}
    if len(files) == 1 or not all(parts.values()):
        raise DataError("\n".join([f"{root}: no files for train and val found", *what_is_here(root)]))
    found = {}
    for part, file in parts.items():
        assert file is not None
        found[f"{part}_images_dir"] = _relative(_images_of(file, part, root), root)
        found[f"{part}_annotations"] = _relative(file, root)
    return dataset | {key: found[key] for key in FOLDER_KEYS}


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _file_of(files: list[Path], part: str, root: Path) -> Path | None:
    """The file of a part: the first word that names one, and only one."""
    for word in WORDS[part]:
        named = [f for f in files if word in re.split(r"[^a-z]+", f.relative_to(root).as_posix().lower())]
        if len(named) == 1:
            return named[0]
    return None


def _images_of(file: Path, part: str, root: Path) -> Path:
    """The folder below which the images of a file lie: where most of the first ones are found."""
    coco = parse_person(read_coco_bytes(file), file, lambda _: None)
    names = [str(i.get("file_name")).replace("\\", "/") for i in coco["images"][:SAMPLED] if isinstance(i, dict)]
    near = [file.parent, file.parent / "images", root, root / "images", *(root / word for word in WORDS[part])]
    below = sorted(path for path in itertools.islice(root.rglob("*"), 100_000) if path.is_dir())
    folders = [folder for folder in (*near, *below) if folder.is_dir()]
    best = max(folders, key=lambda folder: sum((folder / name).is_file() for name in names))
    if not any((best / name).is_file() for name in names):
        some = ", ".join(map(repr, names[:3])) or "none"
        raise DataError(
            f"{file}: no folder below {root} holds its images ({some}); copy them there, or correct file_name"
        )
    return best
