"""From what a person names (files, folders, globs) to images in a fixed order, and a name for what is made of each."""

import glob
import os
from pathlib import Path, PurePath

from contrastmask.errors import ConfigError
from contrastmask.runtime.terminal import natural

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2")
UNREADABLE = (".heic", ".heif")  # a phone's: taken too, so that each is named and left out, not passed over

LONGEST = 255  # bytes of a file's name


def find_images(given: tuple[str, ...], out: Path) -> list[Path]:
    """Every image that `given` names, each once: arguments in their order, folders and globs in natural order.

    Folders are searched to any depth for files with an image's suffix; hidden files and what lies under `out` (earlier
    results) are left out. A file named by itself is taken whatever its suffix.

    Raises:
        ConfigError: an argument names nothing.
    """
    found: dict[Path, Path] = {}
    for argument in given:
        path = Path(argument)
        if path.is_file():
            images = [path]
        elif argument and path.is_dir():
            images = _inside(path, out)
        elif glob.has_magic(argument):
            matched = sorted(map(Path, glob.glob(argument, recursive=True)), key=natural)
            images = [image for match in matched for image in (_inside(match, out) if match.is_dir() else [match])]
            images = [image for image in images if _is_image(image)]
        else:
            raise ConfigError(
                f"{argument or 'empty text'} does not exist: give image files, folders of images, or a glob in quotes"
            )
        if not images:
            raise ConfigError(f"{argument} has no image; looked for {', '.join(SUFFIXES)}")
        for image in images:
            found.setdefault(image.resolve(), image)
    return list(found.values())


def overlay_names(images: list[Path]) -> list[str]:
    """A file name for the overlay of each image: its path below the folder that all share; no two are the same.

    JPEG stays JPEG, anything else becomes PNG.
    """
    absolute = [Path(os.path.abspath(image)) for image in images]
    shared = os.path.commonpath([image.parent for image in absolute])
    names: dict[str, str] = {}  # by what a file system that ignores case sees
    for image in absolute:
        name = _name(image.relative_to(shared))
        while name.casefold() in names:
            name = f"{PurePath(name).with_suffix('')}_{PurePath(name).suffix}"
        names[name.casefold()] = name
    return list(names.values())


def _name(relative: PurePath) -> str:
    if relative.suffix.lower() in (".jpg", ".jpeg", ".png"):
        return relative.as_posix()
    fits = len(os.fsencode(relative.name)) + len(".png") <= LONGEST
    return f"{relative.as_posix()}.png" if fits else relative.with_suffix(".png").as_posix()


def _inside(folder: Path, out: Path) -> list[Path]:
    return sorted(
        (path for path in folder.rglob("*") if _is_image(path) and not path.resolve().is_relative_to(out.resolve())),
        key=natural,
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (*SUFFIXES, *UNREADABLE) and not path.name.startswith(".") and path.is_file()
