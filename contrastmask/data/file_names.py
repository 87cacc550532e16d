"""The image that a file_name means which is not its path below the images' folder.

Files come from other machines: with the folders of that machine, as an address, in other letters (Windows and macOS
do not tell A from a, and macOS writes ü as two characters). The image is the one whose path is an end of the name.
"""

import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote


class Lost:
    """Finds images below a folder by names that are not their paths; the folder is read when the first is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for path in self.folder.rglob("*"):
            found[_key(path.relative_to(self.folder).as_posix())].append(path.relative_to(self.folder).as_posix())
        return dict(found)

    @cached_property
    def _stems(self) -> dict[str, str]:
        return {PurePosixPath(key).stem: paths[0] for key, paths in self._paths.items()}

    def find(self, name: str) -> str | None:
        """The path below the folder that is the longest end of `name`; None if there is none, or more than one."""
        for text in readings(name):
            parts = [part for part in re.split(r"[/\\]", text) if part]
            for start in range(len(parts)):
                if found := self._paths.get(_key("/".join(parts[start:]))):
                    return found[0] if len(found) == 1 else None
        return None

    def other_ending(self, name: str) -> str | None:
        """A file of the same name but for its ending, such as a.jpg for a.png or a."""
        return self._stems.get(PurePosixPath(_key(name)).stem)


def readings(name: str) -> tuple[str, str]:
    """An address up to its query, and the query, in which Label Studio has the path: /data/local-files/?d=a.jpg."""
    before, _, query = name.partition("?")
    return unquote(before), unquote(query.removeprefix("d="))


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
