"""Importing this module registers every network of the project with mmdet: the shared ones and each file of peers/."""

import pkgutil
from importlib import import_module

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

import contrastmask.models  # noqa: F401  # the shared networks and ContrastMask's
from contrastmask.models import peers

from mmdet.registry import MODELS as MMDET_MODELS  # isort: skip  # after ours, for mmcv's operators

for _module in pkgutil.iter_modules(peers.__path__, peers.__name__ + "."):
    import_module(_module.name)

#: Every name also under a scope of ours, for somebody else's configurations: `type="contrastmask.PriorMaskHead"`.
MODELS = Registry("model", parent=MMENGINE_MODELS, scope="contrastmask")
for _name, _network in MMDET_MODELS.module_dict.items():
    if _network.__module__.startswith("contrastmask."):
        MODELS.register_module(_name, module=_network)
