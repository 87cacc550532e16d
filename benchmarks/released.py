"""Time of the contrastive part beside the authors' released code: `make bench-released THEIRS=<checkout>`.

THEIRS is a checkout of github.com/huiserwang/ContrastMask, whose key selection and loss are imported as they are; no
line of it is here. Both sides get the same masks, maps and features of 256 RoIs and take turns.
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MethodType, ModuleType, SimpleNamespace
from typing import Any

import contrastmask.models  # isort: skip  # noqa: F401  # first: puts torchvision's operators behind mmcv's
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from contrastmask.config.options import OFFICIAL, ContrastMaskOptions
from contrastmask.models.common.cam import min_max
from contrastmask.models.contrastmask.contrast import contrastive_loss
from contrastmask.models.contrastmask.keys import KeySets, Partition, key_sets, partition
from contrastmask.runtime.terminal import markdown

ROIS, SIDE, CHANNELS = 256, 28, 256
OPTIONS = ContrastMaskOptions(**OFFICIAL["contrastmask"])
HEAD = ("What", "theirs, CPU s", "ours, CPU s", "ratio", "least and largest", "wall-clock ratio")


def load(checkout: Path) -> SimpleNamespace:
    """Their module of key selection and their contrastive head, with stand-ins for packages that they name.

    Args:
        checkout: of their repository.
    """
    import scipy.ndimage
    from mmengine.model import BaseModule, ModuleList

    sys.modules["scipy.ndimage.morphology"] = scipy.ndimage
    for name, kind in (("float", float), ("bool", bool)):  # numpy's old names
        if name not in np.__dict__:
            setattr(np, name, kind)
    registry = SimpleNamespace(register_module=lambda *_, **__: lambda kind: kind)
    stand_in("mmcv.runner", BaseModule=BaseModule, ModuleList=ModuleList)
    stand_in("mmdet.models.builder", HEADS=registry)
    sys.modules["mmdet.models.utils"].build_linear_layer = None  # type: ignore[attr-defined]
    for package in ("ilib", "ilib.model", "ilib.model.contrastmask_head"):
        stand_in(package).__path__ = []
    keys = from_file("ilib.sample_utils", checkout / "ilib" / "utils" / "sample_utils.py")
    stand_in("ilib.utils", **{name: getattr(keys, name) for name in dir(keys) if not name.startswith("_")})
    folder = checkout / "ilib" / "model" / "contrastmask_head"
    head = from_file("ilib.model.contrastmask_head.contrastive_head", folder / "contrastive_head.py")
    return SimpleNamespace(select=keys.get_query_keys, head=head.ContrastiveHead)


def stand_in(name: str, **content: Any) -> ModuleType:
    """A module of that name with that content."""
    module = ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


def from_file(name: str, path: Path) -> ModuleType:
    """The module in a file, under a name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Masks (R, S, S) of ellipses, raw maps alike, which RoIs are novel (a quarter), and features (R, P, C)."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    centre, radius = (low + span * torch.rand(2, ROIS, 1, 1, generator=generator) for low, span in ((8, 12), (5, 9)))
    masks = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 <= 1
    maps = torch.randn(ROIS, 1, 7, 7, generator=generator)
    maps = F.interpolate(maps, size=(SIDE, SIDE), mode="bilinear", align_corners=False)[:, 0]
    novel = torch.rand(ROIS, generator=generator) < 0.25
    return masks, maps, novel, torch.randn(ROIS, SIDE * SIDE, CHANNELS, generator=generator)


def our_keys(masks: Tensor, maps: Tensor, novel: Tensor) -> tuple[Partition, KeySets]:
    """Partition and key sets as the RoI head makes them."""
    given = masks, ~novel, min_max(maps), OPTIONS
    regions, keys = partition(*given), key_sets(*given)
    enough = torch.stack([s.sum(dim=(1, 2)) >= OPTIONS.min_keys for s in keys.sets()])
    return regions, keys.only(enough.all(0))


def their_loss(theirs: SimpleNamespace, found: dict[str, Tensor], features: Tensor) -> Tensor:
    """Their loss of the keys that they selected."""
    maps, kept = features.view(ROIS, SIDE, SIDE, CHANNELS), found["keeps"]
    means = []
    for side in ("pos", "neg"):
        region = found[f"query_{side}_sets"]
        mean = (maps * region[..., None]).sum((1, 2)) / region.sum((1, 2))[:, None]
        means.append(mean[kept][:, None])
    names = [f"{kind}_{side}_sets_N" for kind in ("easy", "hard") for side in ("positive", "negative")]
    head = SimpleNamespace(weight=1.0)
    head.INFOloss = MethodType(theirs.head.INFOloss, head)
    keys = [maps[kept][found[name]] for name in names]
    return theirs.head.loss(head, *keys, *means, t_easy=OPTIONS.tau, t_hard=1 - OPTIONS.tau)


def pairs(theirs: Callable[[], Any], ours: Callable[[], Any], repeats: int) -> list[list[tuple[float, float]]]:
    """(CPU, wall-clock) seconds of both, in turn, after one of each that does not count."""
    rows = []
    for _ in range(repeats + 1):
        row = []
        for call in (theirs, ours):
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            row.append((time.process_time() - cpu, time.perf_counter() - wall))
        rows.append(row)
    return rows[1:]


def line(name: str, readings: list[list[tuple[float, float]]]) -> list[str]:
    """A line under HEAD."""
    seconds = [statistics.median(row[side][0] for row in readings) for side in (0, 1)]
    cpu, wall = (sorted(row[0][kind] / row[1][kind] for row in readings) for kind in (0, 1))
    middle, spread = statistics.median(cpu), f"{cpu[0]:.1f} - {cpu[-1]:.1f}"
    return [name, *(f"{s:.3f}" for s in seconds), f"{middle:.1f}", spread, f"{statistics.median(wall):.1f}"]


def compare(theirs: SimpleNamespace, repeats: int) -> list[list[str]]:
    """The lines: key selection, and the loss with its gradient."""
    masks, maps, novel, features = inputs()
    edge = torch.stack(torch.gradient(masks.float(), dim=(1, 2))).ne(0).any(0).float()

    def select() -> dict[str, Tensor]:
        return theirs.select(maps[:, None], edge, masks.float(), is_novel=novel, percent=OPTIONS.sigma)

    selection = pairs(select, lambda: our_keys(masks, maps, novel)[1].sample(OPTIONS.sigma), repeats)
    found, (regions, keys) = select(), our_keys(masks, maps, novel)
    features.requires_grad_()
    groups = torch.zeros(ROIS, dtype=torch.long)
    loss = pairs(
        lambda: torch.autograd.grad(their_loss(theirs, found, features), features),
        lambda: torch.autograd.grad(contrastive_loss(features, regions, keys, groups, OPTIONS), features),
        repeats,
    )
    return [line("key selection", selection), line("loss and gradient", loss)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.released", description=__doc__)
    parser.add_argument("--theirs", type=Path, help="a checkout of github.com/huiserwang/ContrastMask")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.theirs is None or not (given.theirs / "ilib").is_dir():
        print(f"skipped: {given.theirs or 'no --theirs'} is no checkout of github.com/huiserwang/ContrastMask")
        return 0
    torch.set_num_threads(given.threads)
    rows = compare(load(given.theirs), given.repeats)
    print(
        f"{ROIS} RoIs, {SIDE} x {SIDE}, {CHANNELS} channels, {given.threads} CPU threads, medians of {given.repeats}\n"
    )
    print(markdown(HEAD, rows, left=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
