"""Fetching from a local server that resumes, breaks off, and lies."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from contrastmask.data import download as module
from contrastmask.data.download import Archive, DownloadError, download


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


FILES = {f"val2017/{i}.jpg": bytes([i]) * 20_000 for i in range(5)}
CONTENT = zipped(FILES)
ARCHIVE = Archive("zips/val2017.zip", hashlib.md5(CONTENT).hexdigest(), "val2017", 5)


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """Serves `content` with Range; `cut` lists after how many bytes the next answers break off."""
    state = SimpleNamespace(content=CONTENT, cut=[], ranges=[], ranged=True, status=None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = self.headers.get("Range")
            state.ranges.append(start)
            if state.status:
                return self.send_error(state.status)
            offset = int(start.removeprefix("bytes=").rstrip("-")) if start and state.ranged else 0
            if start and offset >= len(state.content):
                return self.send_error(416)
            body = state.content[offset:]
            self.send_response(206 if start and state.ranged else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut.pop(0)] if state.cut else body)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(root, server, archive=ARCHIVE, retries=3):
    download(root, server.url, (archive,), retries=retries, pause=0)


def unpacked(root) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_fetches_unpacks_tidies_and_skips_what_is_there(server, tmp_path):
    fetch(tmp_path, server)
    assert unpacked(tmp_path) == FILES
    fetch(tmp_path, server)
    assert server.ranges == [None]


def test_goes_on_after_interruptions(server, tmp_path):
    server.cut = [30_000, 30_000]
    fetch(tmp_path, server)
    assert server.ranges == [None, "bytes=30000-", "bytes=60000-"]
    assert unpacked(tmp_path) == FILES


def test_goes_on_in_a_later_call(server, tmp_path):
    server.cut = [30_000]
    with pytest.raises(DownloadError, match="goes on where it stopped"):
        fetch(tmp_path, server, retries=0)
    assert (tmp_path / "val2017.zip.part").stat().st_size == 30_000
    fetch(tmp_path, server)
    assert server.ranges[-1] == "bytes=30000-" and unpacked(tmp_path) == FILES


def test_a_part_that_is_already_whole(server, tmp_path):
    (tmp_path / "val2017.zip.part").write_bytes(CONTENT)
    fetch(tmp_path, server)
    assert unpacked(tmp_path) == FILES


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranged = False
    (tmp_path / "val2017.zip.part").write_bytes(b"x" * 1000)
    fetch(tmp_path, server)
    assert unpacked(tmp_path) == FILES


def test_wrong_checksum_removes_the_file(server, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=f"should be {ARCHIVE.md5}.*removed"):
        fetch(tmp_path, server)
    assert unpacked(tmp_path) == {}
    (tmp_path / "val2017.zip").write_bytes(zipped(FILES | {"val2017/5.jpg": b"of somebody else"}))
    with pytest.raises(DownloadError, match=f"val2017.zip: MD5 .*should be {ARCHIVE.md5}"):
        fetch(tmp_path, server)
    assert unpacked(tmp_path) == {} and len(server.ranges) == 1  # what lay there before is checked like what came
    server.content = CONTENT
    fetch(tmp_path, server)
    assert unpacked(tmp_path) == FILES


def test_an_interrupted_unpacking_is_completed(server, tmp_path):
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "0.jpg").write_bytes(FILES["val2017/0.jpg"])
    (tmp_path / "val2017" / "1.jpg.tmp").write_bytes(b"half")
    (tmp_path / "val2017.zip").write_bytes(CONTENT)
    fetch(tmp_path, server)
    assert unpacked(tmp_path) == FILES and server.ranges == []


@pytest.mark.parametrize("name", ["../out.jpg", "/tmp/out.jpg", "val2017/../../out.jpg", "val2017\\..\\..\\out.jpg"])
def test_no_member_leaves_the_folder(server, tmp_path, name):
    server.content = zipped({**FILES, name: b"bad"})
    archive = Archive("val2017.zip", hashlib.md5(server.content).hexdigest(), "val2017", 5)
    with pytest.raises(DownloadError, match="points outside"):
        fetch(tmp_path / "root", server, archive)
    assert [p for p in tmp_path.rglob("*.jpg")] == []


def test_too_few_files(server, tmp_path):
    with pytest.raises(DownloadError, match="fewer than 6 files"):
        fetch(tmp_path, server, Archive("val2017.zip", ARCHIVE.md5, "val2017", 6))


def test_missing_file_is_not_tried_again(server, tmp_path):
    server.status = 404
    with pytest.raises(DownloadError, match=r"404.*--base-url"):
        fetch(tmp_path, server)
    assert len(server.ranges) == 1


def test_server_errors_are_tried_again(server, tmp_path):
    server.status = 503
    with pytest.raises(DownloadError, match="after 3 attempts"):
        fetch(tmp_path, server, retries=2)
    assert len(server.ranges) == 3


def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DownloadError, match="GB needed"):
        fetch(tmp_path, server)
