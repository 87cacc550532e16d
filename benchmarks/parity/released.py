"""Import the authors' modules from a checkout of huiserwang/ContrastMask, unchanged, under today's torch and mmdet 3.

Nothing of their code is in this file: only stand-ins for what their imports name and today's packages no longer have
(mmcv.runner, mmdet.core, mmdet.models.builder, einops, vlkit, numpy's old aliases). Their base classes (BBoxHead,
ConvFCBBoxHead, FCNMaskHead) are those of the mmdet 2.14 in their repository; ConvModule, losses, box coder,
mask_target, sampling results and the initialisation from `init_cfg` are today's mmcv, mmdet and mmengine.
"""

import contextlib
import importlib
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn


class _Registry:
    """Registers nothing: the classes are taken from their modules."""

    def __init__(self):
        self.known = {}

    def register_module(self, *_, **__):
        def keep(cls):
            self.known[cls.__name__] = cls
            return cls

        return keep

    def build(self, config):
        config = dict(config)
        return self.known[config.pop("type")](**config)


def _module(name, **content):
    module = types.ModuleType(name)
    module.__dict__.update(content)
    module.__path__ = []
    sys.modules[name] = module
    return module


def _rearrange(x, pattern):
    """The two patterns that their box head uses."""
    if pattern == "n c h w -> (n h w) c":
        return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    if pattern == "n h w c -> n c h w":
        return x.permute(0, 3, 1, 2)
    raise NotImplementedError(pattern)


def _vlkit(root):
    """vlkit's module with seg2edge: vlkit/geometry/seg.py (2024) or vlkit/dense/dense.py (older snapshots)."""
    for path in ("vlkit/geometry/seg.py", "vlkit/dense/dense.py"):
        file = Path(root) / path
        if file.exists() and "def seg2edge" in file.read_text():
            spec = importlib.util.spec_from_file_location("parity_vlkit_seg", file)
            found = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(found)
            return found
    raise FileNotFoundError(f"no seg2edge under {root}")


def _mmdet_2_14(root):
    """Put mmdet 2.14's box and mask head in the place of mmdet 3's, for what is imported next."""
    heads = Path(root) / "mmdetection-2.14.0" / "mmdet" / "models" / "roi_heads"
    _module("parity214")
    for name in ("bbox_heads", "mask_heads"):
        _module(f"parity214.{name}").__path__ = [str(heads / name)]
    for name in ("bbox_heads.convfc_bbox_head", "mask_heads.fcn_mask_head"):
        sys.modules[f"mmdet.models.roi_heads.{name}"] = importlib.import_module(f"parity214.{name}")


def _packages():
    """Put stand-ins where their imports look for mmcv 1, mmdet 2, einops and numpy's old names."""
    import scipy.ndimage
    from mmdet.models.layers import multiclass_nms
    from mmdet.models.roi_heads.standard_roi_head import StandardRoIHead  # noqa: F401
    from mmdet.models.utils import multi_apply
    from mmdet.registry import MODELS, TASK_UTILS
    from mmdet.structures.bbox import bbox2roi
    from mmdet.structures.mask import mask_target
    from mmengine.model import BaseModule, ModuleList

    import contrastmask.models  # noqa: F401  # puts torchvision's operators behind mmcv's, before mmdet

    if not hasattr(np, "float"):
        np.float = float
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not hasattr(np, "bool"):
            np.bool = bool
    sys.modules["scipy.ndimage.morphology"] = scipy.ndimage

    def same(*_, **__):
        return lambda f: f

    hooks = _Registry()
    _module("einops", rearrange=_rearrange)
    _module("mmcv.runner", BaseModule=BaseModule, ModuleList=ModuleList, auto_fp16=same, force_fp32=same, HOOKS=hooks)
    _module("mmcv.runner.hooks")
    _module("mmcv.runner.hooks.logger", TensorboardLoggerHook=type("TensorboardLoggerHook", (), {"__init__": _nothing}))
    heads = _Registry()
    _module(
        "mmdet.models.builder",
        HEADS=heads,
        DETECTORS=_Registry(),
        build_head=heads.build,
        build_roi_extractor=None,
        build_loss=MODELS.build,
    )
    _module(
        "mmdet.core",
        bbox2roi=bbox2roi,
        mask_target=mask_target,
        bbox2result=None,
        build_assigner=None,
        build_sampler=None,
        build_bbox_coder=TASK_UTILS.build,
        multi_apply=multi_apply,
        multiclass_nms=multiclass_nms,
    )
    utils = importlib.import_module("mmdet.models.utils")
    utils.build_linear_layer = lambda cfg, in_features, out_features: nn.Linear(in_features, out_features)


def load(root, vlkit):
    """Their modules: .sample_utils .edge_utils .tensorboard_utils .contrastive_head .mask_head .bbox_head .roi_head.

    Args:
        root: checkout of huiserwang/ContrastMask.
        vlkit: checkout of vlkit/vlkit.
    """
    _packages()
    seg = _vlkit(vlkit)
    names = ("seg2edge", "sobel", "flux2angle", "dense2flux", "quantize_angle")
    _module("vlkit")
    _module("vlkit.dense", **{name: getattr(seg, name, None) for name in names})
    sys.path.insert(0, str(root))
    warnings.filterwarnings("ignore", message=".*Creating a tensor from a list of numpy.*")
    warnings.filterwarnings("ignore", message=".*__array__ implementation.*")
    _mmdet_2_14(root)
    found = {}
    for name in ("utils.sample_utils", "utils.edge_utils", "utils.tensorboard_utils"):
        found[name.split(".")[1]] = importlib.import_module(f"ilib.{name}")
    for name in ("contrastive_head", "mask_head", "bbox_head", "roi_head"):
        found[name] = importlib.import_module(f"ilib.model.contrastmask_head.{name}")
    return types.SimpleNamespace(**found)


def _nothing(self, *_, **__):
    pass


@contextlib.contextmanager
def no_cuda():
    """Their training code calls .cuda() on numbers that it logs; on a machine without a GPU that is a no-op here."""
    kept = torch.Tensor.cuda
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self
    try:
        yield
    finally:
        torch.Tensor.cuda = kept
