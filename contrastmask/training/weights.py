"""Fetch and verify a backbone's ImageNet weights: behind `contrastmask weights`.

A source is a path, a URL, `torchvision://NAME`, `open-mmlab://NAME`, or `package://NAME` for the one weights file in
an installed Python package. The file must fit the backbone key by key: a half-fitting one would train quietly from
half-random weights. Loading executes no code (torch's weights_only).
"""

import copy
import importlib.util
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from contrastmask.errors import ConfigError


class WeightsError(ConfigError):
    """Weights that cannot be had or do not fit; the message names the source and the fix."""


def fetch(source: str, backbone: str, model: dict[str, Any], out: Path) -> None:
    """Write the state dict of `source`, checked against a backbone's configuration, to `out`.

    Args:
        source: path, URL, torchvision://NAME, open-mmlab://NAME or package://NAME.
        backbone: its id, for messages.
        model: mmdet configuration of the backbone.
        out: file to write, atomically.

    Raises:
        WeightsError: naming the source.
    """
    location = locate(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        file = _download(location, Path(folder)) if "://" in location else location
        state = check(as_timm(read(file, source)), backbone, model, source)
        temporary = Path(folder) / "checked.pth"
        torch.save(state, temporary)
        os.replace(temporary, out)


def locate(source: str) -> str:
    """The path or URL behind a source; WeightsError for an unknown name."""
    scheme, _, name = source.partition("://")
    if scheme == "package":
        return str(_in_package(name))
    if scheme not in ("torchvision", "open-mmlab"):
        return source
    from mmengine.runner.checkpoint import get_external_models, get_torchvision_models

    known = get_torchvision_models() if scheme == "torchvision" else get_external_models()
    if name not in known:
        raise WeightsError(f"{source}: unknown name; {scheme} has {', '.join(sorted(known))}")
    return known[name]


def _in_package(name: str) -> Path:
    """The weights file of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [file for folder in folders for file in sorted(Path(folder).rglob("*.pth"))]
    if len(found) != 1:
        raise WeightsError(f"package://{name}: {len(found)} weights files in it instead of one; install the package")
    return found[0]


def _download(url: str, folder: Path) -> Path:
    """The file of a URL; where its name carries a hash (name-0123abcd.pth), the content is checked against it."""
    name = url.rsplit("/", 1)[-1] or "weights.pth"
    digest = re.search(r"-([0-9a-f]{8,})\.", name)
    file = folder / name
    try:
        torch.hub.download_url_to_file(
            url, str(file), digest.group(1) if digest else None, progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"{url} cannot be fetched ({error}); fetch it elsewhere and give its path: "
            "--config weights='{NAME: PATH}'"
        ) from None
    return file


def read(file: str | Path, source: str) -> dict[str, torch.Tensor]:
    """The state dict in a .safetensors file, or in a PyTorch checkpoint, bare or under the key `state_dict`.

    Raises:
        WeightsError: it is missing, broken, or holds more than tensors and plain data: opening that could run code.
    """
    from safetensors.torch import load_file

    file = Path(file)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                if sum(part.file_size for part in packed.infolist()) > file.stat().st_size:
                    raise ValueError("it is compressed, as no checkpoint is")
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise a dozen types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{source} cannot be read as weights; it is missing, broken, or holds what could run code ({reason}). "
            "Fetch it again, or ask for a .safetensors file"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    if not state or not all(torch.is_tensor(value) for value in state.values()):
        raise WeightsError(f"{source} holds no state dict of tensors")
    return dict(state)


def as_timm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of the package efficientnet_lite_pytorch with timm's names; any other as it is."""
    if "_conv_stem.weight" not in state:
        return state
    stages = [(stage, block) for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(blocks)]
    renamed = {}
    for key, value in state.items():
        part, _, rest = key.removeprefix("_").partition(".")
        if part == "blocks":
            number, layer, leaf = rest.split(".")
            stage, block = stages[int(number)]
            names = _FIRST_BLOCK if stage == 0 else _LATER_BLOCK
            renamed[f"net.blocks.{stage}.{block}.{names[layer]}.{leaf}"] = value
        elif part in _STEM:
            renamed[f"net.{_STEM[part]}.{rest}"] = value
    return renamed


_STEM = {"conv_stem": "conv_stem", "bn0": "bn1"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER_BLOCK = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw",
    "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip


def check(state: dict[str, torch.Tensor], backbone: str, model: dict[str, Any], source: str) -> dict[str, torch.Tensor]:
    """The part of a state dict that the backbone takes; every one of its parameters must be there, in its shape.

    Raises:
        WeightsError: naming the first keys that do not fit.
    """
    import contrastmask.models  # isort: skip  # noqa: F401
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    wanted = MODELS.build(copy.deepcopy(model)).state_dict()
    # old files lack BatchNorm's counters, and nothing reads them
    check_fit(state, {k: v for k, v in wanted.items() if not k.endswith("num_batches_tracked")}, backbone, source)
    return {key: state[key] for key in wanted if key in state}


def check_fit(
    state: Mapping[str, torch.Tensor], needed: Mapping[str, torch.Tensor], backbone: str, source: str
) -> None:
    """Raise WeightsError, naming the first keys, unless `state` holds what is needed, in its shape."""
    wrong = [key for key, value in needed.items() if getattr(state.get(key), "shape", None) != value.shape]
    if wrong:
        raise WeightsError(
            f"{source} does not fit backbone '{backbone}': {len(wrong)} of {len(needed)} parameters are missing or of "
            f"another shape, such as {', '.join(wrong[:3])}; give the right file: "
            f"--config weights='{{{backbone}: PATH}}'. For a backbone that a scale's `width` or a `config` changes "
            "there is none: from_scratch: true in the scale, or a backbone of fixed_width, as lite0"
        )
