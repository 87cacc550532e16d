"""Every network of the project, registered with mmdet when this package is imported: the one place that brings it in.

All of mmdet is registered, so its own Runner and apis find what they ask for. Libraries that only others of its
systems use are loaded when one of those asks for them (models/common/deferred.py).
"""

import contextlib
import importlib
import pkgutil

import torch  # noqa: F401

from contrastmask.models.common.deferred import deferred

with deferred("torch._dynamo"):  # torchvision asks for it, for a way of RoIAlign that is not taken here
    from contrastmask.models.common import ops

ops.install()  # before mmdet imports mmcv.ops

_OF_OTHER_USES = ("imagecorruptions", "imgaug", "matplotlib", "scipy", "sklearn")
# mmdet prints that it goes without OneDL's datasets, which nobody asked for
with deferred(*_OF_OTHER_USES), contextlib.redirect_stdout(None):
    import mmdet.datasets
    import mmdet.models
    import mmdet.registry

from mmengine.registry import MODELS as _OF_MMENGINE  # noqa: E402
from mmengine.registry import Registry  # noqa: E402

from contrastmask.models import common, contrastmask, peers  # noqa: E402

for _package in (common, contrastmask, peers):
    for _module in pkgutil.iter_modules(_package.__path__, _package.__name__ + "."):
        importlib.import_module(_module.name)

#: Every name also under a scope of ours, for somebody else's configurations: `type="contrastmask.PriorMaskHead"`.
MODELS = Registry("model", parent=_OF_MMENGINE, scope="contrastmask")
for _name, _network in mmdet.registry.MODELS.module_dict.items():
    if _network.__module__.startswith("contrastmask."):
        MODELS.register_module(_name, module=_network)
