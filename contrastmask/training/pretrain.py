"""A backbone's first weights where ImageNet's do not fit: `python -m contrastmask.training.pretrain --backbone r18 …`.

A classifier of the training images' objects, cut out by their boxes: what a scale with `pretrain` uses in the place of
ImageNet's weights (Sec. 4.1). It sees boxes and categories, which partial supervision gives for novel categories too,
and no mask. All runs of a scale start from the same file.
"""

import argparse
import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contrastmask.config import resolve, run_spec, settings_from_json
from contrastmask.data.dataset import read_dataset
from contrastmask.data.images import read_verified
from contrastmask.errors import ConfigError, DataError, OptionError
from contrastmask.runtime.progress import Progress

CONTEXT = 0.1  # of a box's sides, seen around it
SMALLEST = 12  # pixels of a box's shorter side


def crops(dataset: dict[str, Any], size: int) -> tuple[Tensor, Tensor]:
    """The objects of the training images as (N, 3, size, size) uint8 RGB and their labels (N,).

    Crowds and objects of fewer than SMALLEST pixels are left out. Of an annotation only box and category are read.
    """
    import cv2

    annotations = json.loads(Path(dataset["train"]["annotations"]).read_text(encoding="utf-8"))
    objects: dict[int, list[tuple[list[float], int]]] = {}
    ids = [category["id"] for category in dataset["categories"]]
    for a in annotations["annotations"]:
        if not a.get("iscrowd") and min(a["bbox"][2:]) >= SMALLEST:
            objects.setdefault(a["image_id"], []).append((a["bbox"], ids.index(a["category_id"])))
    pixels, labels = [], []
    for image in annotations["images"]:
        file = Path(dataset["train"]["images"]) / image["file_name"]
        whole = read_verified(file, (image["width"], image["height"]))
        for (x, y, w, h), label in objects.get(image["id"], []):
            x1, y1 = max(int(x - CONTEXT * w), 0), max(int(y - CONTEXT * h), 0)
            crop = whole[y1 : int(y + (1 + CONTEXT) * h) + 1, x1 : int(x + (1 + CONTEXT) * w) + 1]
            pixels.append(cv2.resize(crop, (size, size))[:, :, ::-1])
            labels.append(label)
    if not pixels:
        raise ConfigError(f"{dataset['train']['annotations']}: no object of {SMALLEST} pixels to pretrain on")
    return torch.from_numpy(np.ascontiguousarray(np.stack(pixels).transpose(0, 3, 1, 2))), torch.tensor(labels)


class Classifier(nn.Module):
    """A backbone's last map, averaged, and a linear layer.

    Args:
        backbone: mmdet's configuration of it.
        norm: the detector's `mean` and `std` of each channel.
        categories: K.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: dict[str, Any], norm: tuple[list[float], list[float]], categories: int) -> None:
        import contrastmask.models  # isort: skip  # noqa: F401
        from mmdet.registry import MODELS
        from mmengine.registry import init_default_scope

        super().__init__()
        init_default_scope("mmdet")
        # all of it learns; what is frozen later is a matter of the detector
        self.backbone = MODELS.build(copy.deepcopy(backbone) | {"frozen_stages": -1, "norm_eval": False})
        self.backbone.init_weights()
        for name, value in zip(("mean", "std"), norm, strict=True):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1))
        with torch.no_grad():
            channels = self.backbone(torch.zeros(1, 3, 64, 64))[-1].shape[1]
        self.fc = nn.Linear(channels, categories)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, 3, H, W) in 0..255."""
        return self.fc(self.backbone((images.float() - self.mean) / self.std)[-1].mean(dim=(2, 3)))


def pretrain(
    dataset: dict[str, Any], model: dict[str, Any], recipe: dict[str, Any], seed: int = 0
) -> dict[str, Tensor]:
    """The state dict of the trained backbone.

    Args:
        dataset: content of dataset.json.
        model: the detector's configuration, of which backbone and normalisation are read.
        recipe: `iterations`, `batch` and `size` of crops, `lr` (AdamW, cosine).
        seed: of weights, batches and flips.
    """
    images, labels = crops(dataset, recipe["size"])
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    norm = model["data_preprocessor"]["mean"], model["data_preprocessor"]["std"]
    classifier = Classifier(model["backbone"], norm, len(dataset["categories"])).to(device).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), recipe["lr"], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe["iterations"])
    with Progress("iteration", recipe["iterations"]) as progress:
        for done in range(1, recipe["iterations"] + 1):
            chosen = torch.randint(len(images), (recipe["batch"],))
            batch = images[chosen].to(device)
            batch = torch.where(
                (torch.rand(len(batch), device=device) < 0.5)[:, None, None, None], batch.flip(-1), batch
            )
            loss = F.cross_entropy(classifier(batch), labels[chosen].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.update(done, f"loss {loss.item():.3f}")
    return {key: value.cpu() for key, value in classifier.backbone.state_dict().items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contrastmask.training.pretrain", description=__doc__)
    parser.add_argument("--backbone", required=True, help="file stem in configs/backbones")
    parser.add_argument("--settings", default="{}", help="JSON of what differs from configs/config.yaml")
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args(arguments)
    try:
        settings = settings_from_json(given.settings)
        torch.set_num_threads(settings.scale["threads"])
        dataset = read_dataset(settings.dataset)
        row = {"method": "mask-rcnn", "backbone": given.backbone, "schedule": "1x", "setting": "nonvoc2voc"}
        model = resolve(run_spec(row, "paper"), settings)["model"]
        state = pretrain(dataset, model, settings.scale["pretrain"])
    except (ConfigError, DataError, OptionError) as error:
        parser.exit(2, f"error: {error}\n")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = given.out.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
