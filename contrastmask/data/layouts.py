"""Where train and val lie in a folder: known layouts, files under other names, or another tool's format.

A file is told by its name, its first bytes, or COCO's three lists; nothing is converted.
"""

import itertools
import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrastmask.data.file_names import readings
from contrastmask.errors import DataError
from contrastmask.runtime.files import parse_person, read_coco_bytes

FOLDER_KEYS = ("train_images_dir", "train_annotations", "val_images_dir", "val_annotations")
COCO_LAYOUT = (
    *("train2017", "annotations/instances_train2017.json"),
    *("val2017", "annotations/instances_val2017.json"),
)
PLAIN_LAYOUT = ("train", "annotations/instances_train.json", "val", "annotations/instances_val.json")
ROBOFLOW_LAYOUT = ("train", "train/_annotations.coco.json", "valid", "valid/_annotations.coco.json")
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {  # of a kind of data set
    "coco": (COCO_LAYOUT,),
    "synthetic": (PLAIN_LAYOUT,),
    "clothing": (PLAIN_LAYOUT,),
    "folder": (COCO_LAYOUT, PLAIN_LAYOUT, ROBOFLOW_LAYOUT),
}


@dataclass(frozen=True)
class Part:
    """Where the images and annotations of train or val lie."""

    images: Path
    annotations: Path


def find_parts(config: dict[str, Any], root: Path) -> tuple[Part, Part]:
    """Where train and val lie under `root`; DataError, saying what was looked for, if nothing is there."""
    given = [key for key in FOLDER_KEYS if key in config]
    if given and len(given) < len(FOLDER_KEYS):
        lacking = ", ".join(key for key in FOLDER_KEYS if key not in given)
        raise DataError(f"data: give all of {', '.join(FOLDER_KEYS)} or none; {lacking} missing")
    candidates = (tuple(config[key] for key in FOLDER_KEYS),) if given else LAYOUTS[config["kind"]]
    if parts := _laid_out(candidates, root):
        return parts
    lines = [f"{root}: no data set found (data_root). Looked for"]
    for layout in candidates:
        lines.append("  " + ", ".join(f"{p}{'' if (root / p).exists() else ' (missing)'}" for p in layout))
    raise DataError("\n".join(lines + what_is_here(root)))


def _laid_out(candidates: Iterable[tuple[str, ...]], root: Path) -> tuple[Part, Part] | None:
    """Train and val in the first layout that is there."""
    for layout in candidates:
        train_images, train_file, val_images, val_file = (root / path for path in layout)
        if train_images.is_dir() and val_images.is_dir() and train_file.is_file() and val_file.is_file():
            return Part(train_images, train_file), Part(val_images, val_file)
    return None


#: What tells a part's annotation file, in the order of trust: by a word of its name, or of its folder's.
WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test", "eval")}
SAMPLED = 20  # images of a file that are looked for


def survey(root: Path, given: dict[str, Path] | None = None) -> dict[str, Any]:
    """The `dataset` of a scale for the data under `root`, with absolute `root`.

    Args:
        root: a folder.
        given: the annotation files of "train" and "val", where a person names them.

    Raises:
        DataError: saying what is there instead, and what to do with it.
    """
    root = root.absolute()
    dataset = {"kind": "folder", "root": str(root)}
    laid_out = _laid_out(LAYOUTS["folder"], root)
    if given:
        parts: dict[str, Path | None] = {part: file.absolute() for part, file in given.items()}
    elif laid_out:
        if all(_holds_images(part) for part in laid_out):
            return dataset
        parts = {name: part.annotations for name, part in zip(WORDS, laid_out, strict=True)}
    else:
        files = _unsplit(coco_files(root))  # read once: they may be large
        parts = {part: _file_of(files, part, root) for part in WORDS}
        if len(files) == 1 or not all(parts.values()):
            raise DataError("\n".join([f"{root}: no files for train and val found", *what_is_here(root, files)]))
    found = {}
    for part, file in parts.items():
        assert file is not None
        found[f"{part}_images_dir"] = _relative(_images_of(file, part, root), root)
        found[f"{part}_annotations"] = _relative(file, root)
    return dataset | {key: found[key] for key in FOLDER_KEYS}


def _relative(path: Path, root: Path) -> str:
    """Below `root`, or absolute if it lies elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _file_of(files: list[Path], part: str, root: Path) -> Path | None:
    """The file of a part: the first word that names one, and only one; beside files of key points, that of objects."""
    for word in WORDS[part]:
        named = [f for f in files if word == _word(f.relative_to(root))]
        objects = [f for f in named if "instances" in f.name.lower()]
        for found in (named, objects):
            if len(found) == 1:
                return found[0]
    return None


def _word(file: Path) -> str:
    """The last word of a path that names a part: a file's own name counts before those of its folders."""
    words = re.split(r"[^a-z]+", file.as_posix().lower())
    return next((word for word in reversed(words) if any(word in named for named in WORDS.values())), "")


def _unsplit(files: list[Path]) -> list[Path]:
    """Without those that `split-data` split: its two files lie beside."""
    return [f for f in files if not all(f.with_name(f"{f.stem}-{part}.json") in files for part in WORDS)]


def _first_names(file: Path) -> list[str] | None:
    """File names of the first images that a file lists; None if it is no COCO file."""
    coco = parse_person(read_coco_bytes(file), file, lambda _: None)
    rows = coco.get("images") if isinstance(coco, dict) else None
    if not isinstance(rows, list):
        return None
    return [str(i.get("file_name")).replace("\\", "/") for i in rows[:SAMPLED] if isinstance(i, dict)]


def _holds_images(part: Part) -> bool:
    """Whether the images lie where the layout has them, or nobody can tell; else they are looked for."""
    names = _first_names(part.annotations)
    return not names or any((part.images / end).is_file() for name in names for end in (name, _last(name)))


def _last(name: str) -> str:
    """The last part of a path or an address."""
    before, query = readings(name)
    return (query if name.partition("?")[2].startswith("d=") else before).rpartition("/")[2]


def _images_of(file: Path, part: str, root: Path) -> Path:
    """The folder below which the images of a file lie: where most of the first ones are found."""
    names = _first_names(file)
    if names is None:
        raise DataError(f"{file}: is no COCO file")
    near = [file.parent, file.parent / "images", root, root / "images", *(root / word for word in WORDS[part])]
    below = sorted(path for path in itertools.islice(root.rglob("*"), 100_000) if path.is_dir())
    folders = [folder for folder in (*near, *below) if folder.is_dir()]
    # file_name may have folders of another machine (file_names.py); the whole name is asked for first
    for wanted in (names, [_last(name) for name in names]):
        best = max(folders, key=lambda folder: sum((folder / name).is_file() for name in wanted))
        if any((best / name).is_file() for name in wanted):
            return best
    some = ", ".join(map(repr, names[:3])) or "none"
    raise DataError(f"{file}: no folder below {root} holds its images ({some}); copy them there, or correct file_name")


LOOKED_AT = 20_000  # files
SHOWN = 3
ARCHIVES = (".zip", ".gz", ".tar", ".tgz", ".7z", ".rar")
SNIFFED = 1 << 16  # bytes
# FOLDER is this folder, by its absolute path: labelme2coco writes file names that begin as its argument does
DATUM = (
    "`datum convert -i FOLDER -if {0} -f coco_instances -o FOLDER-coco -- --save-media` (pip install 'datumaro[cli]'), "
    "then `contrastmask init FOLDER-coco`"
)
LABELME = "`labelme2coco FOLDER --export_dir FOLDER` (pip install labelme2coco), then `contrastmask init FOLDER`"


@dataclass(frozen=True)
class Format:
    """A format that is not COCO's: its name, how a file of it is told, and what converts it."""

    name: str
    suffix: str
    pattern: str
    converter: str


FORMATS = (
    Format("VIA's own project or JSON", ".json", r'"_via_settings"|"regions"\s*:', "in VIA: Annotation, Export (COCO)"),
    Format("labelme", ".json", r'"shapes"\s*:', LABELME),
    Format("Label Studio's own JSON", ".json", r'"(rectangle|polygon|brush)labels"', "in Label Studio: Export, COCO"),
    Format("CVAT XML", ".xml", r"<annotations>", "in CVAT: Export, COCO 1.0, or " + DATUM.format("cvat")),
    Format("PASCAL VOC", ".xml", r"<annotation[ >]", DATUM.format("voc")),
    Format("YOLO", ".txt", r"\A\s*\d+( \d*\.\d+(e-?\d+)?){4,}\s*$", DATUM.format("yolo")),
)


def what_is_here(root: Path, coco: list[Path] | None = None) -> list[str]:
    """Lines for a message: what a folder holds instead of a data set, and what to do with it.

    Args:
        coco: its `coco_files`, where they are known.
    """
    if not root.is_dir():
        if not root.exists():
            return ["There is no such folder."]
        return [f"It is not a folder{': unpack it' if root.suffix in ARCHIVES else ''}. Give the folder of the data."]
    files = _files(root)
    if coco is None:
        coco = coco_files(root)
    lines = []
    if coco:
        lines.append(f"There are COCO files under other names: {_some(coco, root)}")
        if len(coco) == 1:
            lines.append(
                f"For train and val, split it: `contrastmask split-data {shlex.quote(str(coco[0]))}`, then "
                f"`contrastmask init {shlex.quote(str(root))}`"
            )
        else:
            lines.append(f"Say which is which: `contrastmask init {shlex.quote(str(root))} --train FILE --val FILE`")
        return lines
    for format in FORMATS:
        found = [
            path for path in files if path.suffix == format.suffix and re.search(format.pattern, _head(path), re.M)
        ]
        if found:
            lines.append(f"There are files of another format, {format.name}: {_some(found, root)}")
            folder = shlex.quote(str(root.absolute()))
            lines.append(f"Convert them to COCO's: {format.converter.replace('FOLDER', folder)}")
            return lines
    json_files = [path for path in files if path.suffix == ".json"]
    if json_files:
        keys = [f"{path.relative_to(root)} ({_keys(path)})" for path in json_files[:SHOWN]]
        lines.append(
            f"There are JSON files with other keys than COCO's images, annotations, categories: {'; '.join(keys)}"
        )
    elif archives := [path for path in files if path.suffix in ARCHIVES]:
        lines.append(f"There is an archive, {_some(archives, root)}: unpack it")
    elif files:
        lines.append(f"There is no annotation file. Files there: {len(files)}, such as {_some(files, root)}")
    else:
        lines.append("The folder is empty.")
    return lines


def coco_files(root: Path) -> list[Path]:
    """The files below `root` that hold COCO's three lists."""
    return [path for path in _files(root) if path.suffix == ".json" and is_coco(path)]


def _files(root: Path) -> list[Path]:
    """Files below `root` but for hidden ones, such as copies of Jupyter's, and macOS's __MACOSX."""
    paths = itertools.islice(sorted(root.rglob("*")), LOOKED_AT)
    return [path for path in paths if not re.search(r"(^|/)(\.|__MACOSX/)", _relative(path, root)) and path.is_file()]


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
