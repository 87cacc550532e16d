"""What is written whole or not at all, and what is never replaced."""

import os
from pathlib import Path

import pytest

from contrastmask.runtime.files import atomic_writer


def test_a_file_appears_whole_and_a_link_to_it_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with atomic_writer(tmp_path / "link") as stream:
        stream.write("text")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "text"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """As /dev/null by root, whom the system lets replace it for everybody."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is no file that can be replaced"), atomic_writer(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo() and len([*tmp_path.iterdir()]) == 1
