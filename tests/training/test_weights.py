"""Backbone weights: only what fits, and nothing that runs."""

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from contrastmask.config import backbone_config
from contrastmask.training.weights import WeightsError, check, fetch, locate, read


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """ResNet-50's weights as torchvision names them."""
    import torchvision

    return torchvision.models.resnet50(weights=None).state_dict()


def test_torchvision_weights_fit_key_by_key(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    source, out = tmp_path / "r50.pth", tmp_path / "out" / "r50.pth"
    torch.save(state, source)
    fetch(str(source), "r50", backbone_config("r50"), out)
    kept = torch.load(out, weights_only=True)
    assert torch.equal(kept["layer4.2.conv3.weight"], state["layer4.2.conv3.weight"])
    assert "fc.weight" not in kept
    assert [path.name for path in out.parent.iterdir()] == ["r50.pth"]


def test_torchvision_resnext_fits_too() -> None:
    import torchvision

    state = torchvision.models.resnext50_32x4d(weights=None).state_dict()
    assert len(check(dict(state), "x50", backbone_config("x50"), "x")) > 200


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_that_do_not_fit_are_refused_by_name(state: dict[str, torch.Tensor], change: str) -> None:
    wrong: dict[str, Any] = dict(state)
    if change == "missing":
        del wrong["layer1.0.conv1.weight"]
    else:
        wrong["layer1.0.conv1.weight"] = torch.zeros(3)
    with pytest.raises(WeightsError, match=r"r50.*1 of .*layer1\.0\.conv1\.weight"):
        check(wrong, "r50", backbone_config("r50"), "file.pth")


def test_r101_is_not_r50(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match="does not fit backbone 'r101'"):
        check(dict(state), "r101", backbone_config("r101"), "file.pth")


def test_a_checkpoint_that_would_unpack_to_more_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(100_000)}, tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "small.pth", "w", 8) as small:
        for part in whole.infolist():
            small.writestr(part.filename, whole.read(part))
    with pytest.raises(WeightsError, match="compressed"):
        read(tmp_path / "small.pth", "small.pth")


@pytest.mark.parametrize(
    "content", [{}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {"a": 1}, {"a": "b"}, [1, 2], [torch.zeros(1)]]
)
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read(tmp_path / "w.pth", "w.pth")


def test_known_names_become_urls() -> None:
    assert locate("torchvision://resnet50").startswith("https://download.pytorch.org/models/resnet50")
    for name in ("resnext50_32x4d", "resnext101_64x4d"):
        assert locate(f"open-mmlab://{name}").startswith("https://")
    assert locate("/some/file.pth") == "/some/file.pth"
    with pytest.raises(WeightsError, match="resnet50"):
        locate("torchvision://resnet5000")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and its address on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


def test_a_url_is_fetched_and_checked_against_its_hash(
    state: dict[str, torch.Tensor], server: tuple[Path, str]
) -> None:
    folder, address = server
    torch.save(state, folder / "w.pth")
    digest = hashlib.sha256((folder / "w.pth").read_bytes()).hexdigest()[:8]
    (folder / "w.pth").rename(folder / f"w-{digest}.pth")
    fetch(f"{address}/w-{digest}.pth", "r50", backbone_config("r50"), folder / "out.pth")
    (folder / f"w-{digest}.pth").rename(folder / "w-00000000.pth")
    with pytest.raises(WeightsError, match="cannot be fetched"):
        fetch(f"{address}/w-00000000.pth", "r50", backbone_config("r50"), folder / "again.pth")
    with pytest.raises(WeightsError, match="--config weights="):
        fetch(f"{address}/absent.pth", "r50", backbone_config("r50"), folder / "again.pth")
    assert not (folder / "again.pth").exists()
