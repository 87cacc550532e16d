"""Reading and writing of the data layer's files: errors that name the fix, writes that are all or nothing."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from contrastmask.errors import DataError

SHOWN = 20  # problems listed in one error; the rest is a count


def raise_problems(what: str, problems: list[str]) -> None:
    """Raise one `DataError` that lists the first `SHOWN` problems, or return if there are none."""
    if not problems:
        return
    lines = [f"{what}: {len(problems)} problem{'s' if len(problems) > 1 else ''}"]
    lines += [f"  - {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  ... and {len(problems) - SHOWN} more")
    raise DataError("\n".join(lines))


@contextmanager
def atomic_writer(path: Path) -> Iterator[IO[str]]:
    """Open a text file that appears under `path` only when the block ends without an exception.

    A link stays one. What is no file, such as /dev/null, is never replaced: OSError.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "is no file that can be replaced", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write small `value` as indented JSON, atomically."""
    with atomic_writer(path) as stream:
        stream.write(json.dumps(value, indent=1) + "\n")


def is_newest(made: Path, sources: Iterable[Path]) -> bool:
    """Whether `made` is there, and no file that it was made from is newer."""
    return made.exists() and all(source.stat().st_mtime <= made.stat().st_mtime for source in sources)


def read_record(path: Path, fields: dict[str, type]) -> dict[str, Any]:
    """A JSON object that this project wrote, with the `fields` of these types.

    Raises:
        DataError: it is missing, or damaged.
    """
    content = parse_coco(read_coco_bytes(path), path, "It is damaged: delete it, and it is made again.")
    lacking = [
        key for key, kind in fields.items() if not isinstance(content, dict) or not isinstance(content.get(key), kind)
    ]
    if lacking:
        raise DataError(f"{path}: lacks {', '.join(lacking)}, so it is damaged; delete it, and it is made again")
    return content


def check_unchanged(path: Path, sha256: str, record: Path) -> None:
    """Raise DataError unless `path` is still the file whose sha256 `record` holds."""
    try:
        with path.open("rb") as stream:
            changed = hashlib.file_digest(stream, "sha256").hexdigest() != sha256
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {record} names it: put it back") from None
    if changed:
        raise DataError(f"{path}: changed since {record} was written; put it back, or delete {record} to make it anew")


def write_coco(path: Path, images: list[dict], annotations: Iterable[dict], categories: list[dict]) -> None:
    """Write an instances file, atomically, one annotation at a time.

    `json.dump` would fall back to Python's slow encoder and `json.dumps` would hold COCO's 450 MB as one
    string; encoding each annotation by itself is as fast as the latter and needs no memory.
    """
    encode = json.JSONEncoder(separators=(",", ":")).encode
    with atomic_writer(path) as stream:
        stream.write(f'{{"images":{encode(images)},\n"categories":{encode(categories)},\n"annotations":[')
        for index, annotation in enumerate(annotations):
            stream.write((",\n" if index else "\n") + encode(annotation))
        stream.write("\n]}\n")


def read_coco_bytes(path: Path) -> bytes:
    """The raw bytes of an annotation file; DataError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check the path, and data_root if it lies below it."
        ) from error


SURROGATE = re.compile(
    rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]"
)  # a half of a character, if its other half is not beside it


def parse_coco(raw: bytes, path: Path, mend: str = "The file may be cut short: fetch or export it again.") -> Any:
    """Parse JSON, refusing NaN and Infinity, which JSON does not have but Python's reader accepts.

    `mend` says what to do about a file that is no JSON.

    Raises:
        DataError: `raw` is not valid JSON; the message gives the position.
    """

    def refuse(constant: str) -> None:
        place = re.search(rb"[:,[]\s*" + constant.encode(), raw)
        near = raw[max(0, place.start() - 40) : place.end()].decode(errors="replace") if place else constant
        raise DataError(f"{path}: holds the number {constant}, first in {near!r}. Write finite numbers only.")

    try:
        content = json.loads(raw, parse_constant=refuse)
        if SURROGATE.search(raw):
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except DataError:
        raise
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise DataError(f"{path}: {half!r} is half of a character, which no file can hold. Write it whole.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}). {mend}") from error


def parse_person(raw: bytes, path: Path, warn: Callable[[str], None]) -> Any:
    """Parse JSON as a person's tools write it: UTF-8, UTF-16 or UTF-32, with or without a byte order mark; anything
    else is taken for Windows-1252, and `warn` is told.

    Raises:
        DataError: as `parse_coco`.
    """
    encoding: str = json.detect_encoding(raw)
    try:
        text = raw.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        warn(f"file that is not in Unicode, read as Windows-1252: {path.name}")
        text, encoding = raw.decode("cp1252", "replace"), "cp1252"
    return parse_coco(raw if encoding == "utf-8" else text.encode("utf-8", "surrogatepass"), path)
