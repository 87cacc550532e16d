"""Fetch COCO 2017: resumes where it stopped, checks MD5, unpacks, skips what is there.

Needs about 45 GB while it runs, half of it afterwards. Each archive is removed once it is unpacked.
"""

import hashlib
import http.client
import shutil
import ssl
import sys
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from contrastmask.errors import Failed

BASE_URL = "http://images.cocodataset.org"
BLOCK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without a byte
# Worth another attempt; not, for example, a full disk.
NETWORK_ERRORS = (*(urllib.error.URLError, http.client.HTTPException), *(ConnectionError, TimeoutError, ssl.SSLError))


class DownloadError(Failed):
    """The data could not be fetched; the message says what to do."""


@dataclass(frozen=True)
class Archive:
    """A zip file below the base URL; it unpacks `n_files` files into `folder`."""

    path: str
    md5: str
    folder: str
    n_files: int

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


COCO_2017 = (
    Archive(*("annotations/annotations_trainval2017.zip", "f4bbac642086de4f52a3fdda2de5fa2c", "annotations", 6)),
    Archive("zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", "val2017", 5000),
    Archive("zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017", 118287),
)


def download(
    root: Path,
    base_url: str = BASE_URL,
    archives: tuple[Archive, ...] = COCO_2017,
    retries: int = 8,
    pause: float = 2.0,
) -> None:
    """Make `root` hold every archive's files. `pause` is in seconds and doubles with each retry.

    Raises:
        DownloadError: an archive cannot be fetched, has a wrong checksum, or does not hold what it should.
    """
    root.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        if _is_unpacked(root, archive):
            _say(f"{archive.folder}: complete")
            continue
        zipped = root / archive.name
        if zipped.exists():
            _check(zipped, archive.md5)
        else:
            _fetch(f"{base_url.rstrip('/')}/{archive.path}", zipped, archive.md5, retries, pause)
        _unpack(zipped, root, archive)
        zipped.unlink()
        _say(f"{archive.folder}: complete")


def _is_unpacked(root: Path, archive: Archive) -> bool:
    """Counts files: each is put in its place only when it is whole."""
    folder = root / archive.folder
    return folder.is_dir() and sum(1 for p in folder.iterdir() if p.suffix != ".tmp") >= archive.n_files


def _fetch(url: str, target: Path, md5: str, retries: int, pause: float) -> None:
    """Download to `target`.part, then check and rename; a part left by an earlier call is continued."""
    part = target.with_name(target.name + ".part")
    for attempt in range(retries + 1):
        try:
            _continue(url, part)
            break
        except NETWORK_ERRORS as error:
            if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403, 404, 410):
                raise DownloadError(f"{url}: {error}. Check --base-url.") from error
            if attempt == retries:
                raise DownloadError(
                    f"{url}: {error}, after {retries + 1} attempts. Run the command again: it goes on where it stopped."
                ) from error
            _say(f"{target.name}: {error}; going on in {pause * 2**attempt:.0f} s")
            time.sleep(pause * 2**attempt)
    _check(part, md5)
    part.replace(target)


def _continue(url: str, part: Path) -> None:
    """Append what `part` still lacks.

    Raises:
        OSError: the connection failed or ended early (http.client reports the latter only as a short read).
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:  # nothing lies beyond `have`: the part is whole, or its checksum will tell
            return
        raise
    with response:
        if response.status != 206:  # the server sends the file from its beginning
            have = 0
        expected = int(response.headers.get("Content-Length", 0))
        _require_space(part.parent, expected + have + expected)
        with part.open("ab" if have else "wb") as stream:
            received = _copy(response, stream, part.stem, have, expected)
    if expected and received < expected:
        raise ConnectionError(f"connection closed after {received} of {expected} bytes")


def _copy(response: http.client.HTTPResponse, stream, name: str, have: int, expected: int) -> int:
    """Copy the body, with a line for every tenth; returns the bytes received."""
    received, told = 0, -1
    while block := response.read(BLOCK):
        stream.write(block)
        received += len(block)
        tenth = 10 * (have + received) // (have + expected) if expected else 0
        if tenth > told:
            _say(f"{name}: {tenth * 10} % ({(have + received) / 1e9:.2f} GB)")
            told = tenth
    return received


def _require_space(folder: Path, needed: int) -> None:
    """`needed` bytes: the rest of the archive and, unpacked, all of it (photos do not compress)."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed. Make room or give another folder."
        )


def _check(path: Path, md5: str) -> None:
    """Nothing is unpacked that is not the archive which COCO publishes, also where it lay there before."""
    _say(f"{path.name}: checking")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "md5").hexdigest()
    if found != md5:
        path.unlink()
        raise DownloadError(f"{path}: MD5 is {found}, should be {md5}. It was removed; run the command again.")


def _unpack(zipped: Path, root: Path, archive: Archive) -> None:
    """Unpack the members of the archive's folder; files that are there in full size are kept.

    Raises:
        DownloadError: a member would leave `root`, or the archive lacks files.
    """
    with zipfile.ZipFile(zipped) as opened:
        members = [m for m in opened.infolist() if not m.is_dir()]
        for member in members:
            _require_inside(member.filename, zipped)
        for member in members:
            if PurePosixPath(member.filename).parts[0] == archive.folder:
                _unpack_member(opened, member, root / member.filename)
    if not _is_unpacked(root, archive):
        raise DownloadError(f"{zipped}: holds fewer than {archive.n_files} files for {archive.folder}/. Remove it.")


def _require_inside(name: str, zipped: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name:
        raise DownloadError(f"{zipped}: its member {name!r} points outside the folder. Do not use this archive.")


def _unpack_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    if target.exists() and target.stat().st_size == member.file_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    with opened.open(member) as source, temporary.open("wb") as stream:
        shutil.copyfileobj(source, stream, BLOCK)
    temporary.replace(target)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
