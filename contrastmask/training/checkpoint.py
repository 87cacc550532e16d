"""Checkpoints that survive a kill, a full disk and a flipped bit.

A file is what ``torch.save`` writes, followed by a 40-byte trailer: the SHA-256 of what precedes it and a mark.
``torch.load`` (and any zip reader) ignores the trailer, so a checkpoint opens without this module; with it, a
truncated or altered file is told from a good one. One file and one rename: there is no moment at which a kill
leaves a checkpoint that looks valid and is not.

Everything stored is plain data and tensors, so that ``torch.load(weights_only=True)`` opens it: loading a
checkpoint runs no code from it.
"""

import contextlib
import errno
import hashlib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from contrastmask.errors import Failed

log = logging.getLogger(__name__)

_MARK = b"CMASKv1\n"
_DIGEST_BYTES = 32
_NAME = re.compile(r"iter_(\d+)\.pth")
_CHUNK = 1 << 20


class CheckpointError(Failed):
    """A checkpoint cannot be written or read; the message says which file and what to do."""


def save(folder: Path, state: dict[str, Any], iteration: int) -> Path:
    """Write ``folder/iter_<iteration>.pth`` so that it is there whole or not at all; of the older ones keep the last.

    state: plain data and tensors (see ``plain``) with the key "identity": the string that says which
        configuration and data this training is of.

    One process at a time may use ``folder`` (the trainer holds the run's lock). Raises CheckpointError if the
    file cannot be written: the earlier checkpoints are then as they were, and nothing half-written remains.
    """
    path = folder / f"iter_{iteration}.pth"
    _remove(folder.glob("iter_*.pth.tmp"))  # what killed processes left would fill the disk one by one
    _write(path, state)
    older = [p for n, p in _newest_first(folder) if n < iteration]
    _remove(older[1:])  # one to fall back to
    return path


def latest(folder: Path, *, identity: str) -> tuple[int, dict[str, Any]] | None:
    """The newest intact checkpoint of this ``identity`` as (iteration, state on the CPU), or None.

    A damaged file is renamed ``….corrupt`` and one of another identity ``….foreign``, with a logged reason, and
    the one before is tried: nothing is deleted, and neither can push a good checkpoint out of ``save``'s count.

    Raises CheckpointError where a file is intact but cannot be opened (rights, memory, a torch that is too old):
    to start again from nothing would be the wrong answer to that.
    """
    for iteration, path in _newest_first(folder):
        problem = _damage(path)
        if problem:
            _set_aside(path, "corrupt", problem)
            continue
        state = _load(path)
        owner = state.get("identity") if isinstance(state, dict) else None
        if owner != identity:
            reason = f"it belongs to {owner!r}, this run is {identity!r}"
            _set_aside(path, "foreign", reason)
            continue
        return iteration, state
    return None


def save_weights(path: Path, state_dict: Mapping[str, torch.Tensor], meta: Mapping[str, Any]) -> None:
    """Write final weights and what is to be known about them, whole or not at all. Raises CheckpointError."""
    _write(path, {"state_dict": state_dict, "meta": meta})


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(state_dict on the CPU, meta) of a file that ``save_weights`` wrote; CheckpointError if it is not whole."""
    problem = _damage(path)
    if problem:
        raise CheckpointError(f"{path}: {problem}; delete it and run the same command to train it again")
    content = _load(path)
    if not isinstance(content, dict) or not {"state_dict", "meta"} <= content.keys():
        raise CheckpointError(f"{path}: holds no weights of this program; delete it and run the same command")
    return content["state_dict"], content["meta"]


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Any, where: str = "state") -> Any:
    """``value`` rebuilt from dict, list, tuple, numbers, strings, None and tensors only.

    Subclasses of dict (OrderedDict, defaultdict, Counter) become dict, numpy scalars Python numbers, numpy arrays
    nested lists, parameters tensors. Raises TypeError naming the place of anything else (a set, a function, …):
    better now than when the file is opened after a failure.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return plain(value.item(), where)
    if isinstance(value, np.ndarray):
        return plain(value.tolist(), where)
    if isinstance(value, Mapping):
        return {plain(k, f"a key of {where}"): plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = (plain(v, f"{where}[{i}]") for i, v in enumerate(value))
        return tuple(items) if isinstance(value, tuple) else list(items)
    raise TypeError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")


# ------------------------------------------------------------------------------------------------- writing


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """torch.save + trailer into a temporary neighbour, then rename: readers see the old file or the whole new."""
    content = plain(content)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            writer = _HashingWriter(file)
            torch.save(content, cast(BinaryIO, writer))  # all it calls is write and flush
            file.write(writer.digest.digest() + _MARK)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        _remove([temporary])
        raise CheckpointError(_explain(path, error)) from error


class _HashingWriter:
    """A write-only file that keeps the SHA-256 of what went through it.

    torch reports a failed write as a RuntimeError of its own whose context is the real OSError.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _remove(paths: Iterable[Path]) -> None:
    """Delete what can be deleted: an old file that stays harms nobody."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(path: Path, error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return f"cannot write {path}: {error}. Earlier files there are intact"
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    fix = "free some space there" if full else f"make sure that {path.parent} can be written to"
    reason = cause.strerror or cause
    return f"cannot write {path}: {reason}. Earlier files there are intact; {fix} and run the same command again"


# ------------------------------------------------------------------------------------------------- reading


def _newest_first(folder: Path) -> list[tuple[int, Path]]:
    named = [(match, p) for p in folder.glob("iter_*.pth") if (match := _NAME.fullmatch(p.name))]
    return sorted(((int(match[1]), p) for match, p in named), reverse=True)


def _damage(path: Path) -> str | None:
    """Why ``path`` is not a file that ``_write`` finished, or None."""
    trailer_bytes = _DIGEST_BYTES + len(_MARK)
    try:
        with open(path, "rb") as file:
            left = os.fstat(file.fileno()).st_size - trailer_bytes
            digest = hashlib.sha256()
            while left > 0 and (chunk := file.read(min(_CHUNK, left))):
                digest.update(chunk)
                left -= len(chunk)
            trailer = file.read(trailer_bytes + 1)
    except OSError as error:
        raise CheckpointError(_cannot_open(path, error)) from error
    if trailer[_DIGEST_BYTES:] != _MARK:
        return "it is cut short, or was not written by this program"
    if trailer[:_DIGEST_BYTES] != digest.digest():
        return "its content does not match its checksum"
    return None


def _load(path: Path) -> Any:
    """The content of a file known to be whole: plain data and tensors of any form."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(_cannot_open(path, error)) from error


def _cannot_open(path: Path, error: Exception) -> str:
    return f"cannot open {path}: {error}. Mend that, or move the file away to go on without it"


def _set_aside(path: Path, kind: str, reason: str) -> None:
    """Rename to ``<name>.<kind>``, or ``<name>.<kind>.<n>`` where that is taken."""
    target, n = path.with_name(f"{path.name}.{kind}"), 0
    while target.exists():
        n += 1
        target = path.with_name(f"{path.name}.{kind}.{n}")
    log.warning("checkpoint %s is not used: %s; kept as %s", path, reason, target.name)
    try:
        path.rename(target)
    except OSError as error:
        raise CheckpointError(f"cannot rename {path} to {target.name}: {error}; move it away") from error
