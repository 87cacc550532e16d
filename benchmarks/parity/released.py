"""The released code on the very libraries that it was written for, in one process with today's.

Their mmdet 2.14 (in their repository) and mmcv 1.3.9 bear the names of today's packages. So today's step aside while
theirs are imported or used, and come back afterwards; each side keeps the modules that it was imported with. Two things
are not theirs: mmcv's compiled operators, which are torchvision's on both sides, and einops, of which they use two
patterns. No line of theirs is here.
"""

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import contrastmask.models  # isort: skip  # noqa: F401  # first: today's mmcv and mmdet
import numpy as np
import torch
from torch import Tensor

from contrastmask.models.common.ops import StandIn

PACKAGES = ("mmcv", "mmdet", "ilib", "vlkit", "einops")
CONFIG = "contrastmask_res{}_fpn_coco_{}_nonvoc2voc.py"


class Released:
    """Their modules as attributes; inside `with released.packages():` their mmdet and mmcv are the importable ones.

    Args:
        checkout: of huiserwang/ContrastMask.
        vlkit: checkout of vlkit/vlkit.
        mmcv: checkout of open-mmlab/mmcv at v1.3.9, or its unpacked source distribution.
    """

    cocops: Any
    sample_utils: Any
    edge_utils: Any
    tensorboard_utils: Any
    contrastive_head: Any
    mask_head: Any

    def __init__(self, checkout: Path, vlkit: Path, mmcv: Path) -> None:
        self.checkout = checkout
        self._paths = [str(mmcv), str(checkout / "mmdetection-2.14.0"), str(checkout)]
        self._modules: dict[str, ModuleType] = {"mmcv._ext": StandIn("mmcv._ext"), **_einops(), **_vlkit(vlkit)}
        for name, kind in (("float", float), ("bool", bool), ("int", int)):  # numpy's old names
            if name not in np.__dict__:
                setattr(np, name, kind)
        warnings.filterwarnings("ignore")
        with self.packages():
            importlib.import_module("mmdet.datasets")
            self.api = importlib.import_module("mmdet.apis")
            self.mmcv_config = importlib.import_module("mmcv").Config
            self.cocops = importlib.import_module("ilib.dataset.cocops")
            for name in ("sample_utils", "edge_utils", "tensorboard_utils"):
                setattr(self, name, importlib.import_module(f"ilib.utils.{name}"))
            for name in ("contrastive_head", "mask_head"):
                setattr(self, name, importlib.import_module(f"ilib.model.contrastmask_head.{name}"))

    @contextmanager
    def packages(self) -> Iterator[None]:
        """Their packages in place of today's."""
        todays = _taken_out()
        sys.modules.update(self._modules)
        sys.path[:0] = self._paths
        try:
            yield
        finally:
            del sys.path[: len(self._paths)]
            self._modules = _taken_out()
            sys.modules.update(todays)

    def config(self, backbone: str = "50", schedule: str = "1x") -> Any:
        """A released configuration file."""
        with self.packages():
            return self.mmcv_config.fromfile(str(self.checkout / "iconfig" / CONFIG.format(backbone, schedule)))

    def detector(self) -> Any:
        """Their detector with random weights, ResNet-50 at 1x, in evaluation mode."""
        config = self.config()
        config.model.backbone.init_cfg = None
        with self.packages():
            built = importlib.import_module("mmdet.models").build_detector(config.model)
            built.roi_head.init_weights()
        built.cfg = config
        return built.eval()


def _taken_out() -> dict[str, ModuleType]:
    """What is imported of PACKAGES, no longer imported."""
    names = [name for name in sys.modules if name.split(".")[0] in PACKAGES]
    return {name: sys.modules.pop(name) for name in names}


def _einops() -> dict[str, ModuleType]:
    def rearrange(x: Tensor, pattern: str) -> Tensor:
        if pattern == "n c h w -> (n h w) c":
            return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
        assert pattern == "n h w c -> n c h w", pattern
        return x.permute(0, 3, 1, 2)

    module = ModuleType("einops")
    vars(module).update(rearrange=rearrange)
    return {"einops": module}


def _vlkit(checkout: Path) -> dict[str, ModuleType]:
    """vlkit's module with seg2edge under the name that they import, with None for what is no longer there."""
    found = [path for path in ("vlkit/geometry/seg.py", "vlkit/dense/dense.py") if (checkout / path).exists()]
    if not found:
        raise FileNotFoundError(f"no seg2edge under {checkout}")
    spec = spec_from_file_location("vlkit.dense", checkout / found[0])
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("sobel", "flux2angle", "dense2flux", "quantize_angle"):
        vars(module).setdefault(name, None)
    return {"vlkit": ModuleType("vlkit"), "vlkit.dense": module}


@contextmanager
def no_cuda() -> Iterator[None]:
    """Their training code calls .cuda() on numbers that it logs; on a machine without a GPU that is a no-op here."""
    kept = torch.Tensor.cuda
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.cuda = kept  # type: ignore[method-assign]
