"""Importing this module registers every network of the project with mmdet: the shared ones and each file of peers/."""

import pkgutil
from importlib import import_module

import contrastmask.models  # noqa: F401  # the shared networks and ContrastMask's
from contrastmask.models import peers

for _module in pkgutil.iter_modules(peers.__path__, peers.__name__ + "."):
    import_module(_module.name)
