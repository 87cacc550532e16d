"""Values of the four released configuration files beside this project's resolved ones."""

from typing import Any

from benchmarks.parity.inputs import config
from benchmarks.parity.lines import say
from benchmarks.parity.released import Released
from contrastmask.data.categories import coco_categories
from contrastmask.data.splits import resolve as resolve_split
from contrastmask.training.build import train_pipeline

#: Keys of theirs that name their own classes, or what has no effect: class_agnostic makes num_classes one.
OTHER = {"type", "init_cfg", "num_classes", "contrastive_head", "contrastive_enable", "contrastive_roi_extractor"}
OTHER |= {"fc_out_channels"}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def differing(theirs: dict[str, Any], ours: dict[str, Any], where: str) -> list[str]:
    """Paths of the leaves of theirs that ours has otherwise; keys that mmdet 3 no longer has are not counted."""
    found = []
    for key, value in theirs.items():
        if key in OTHER or key not in ours:
            continue
        if isinstance(value, dict) and isinstance(ours[key], dict):
            found += differing(value, ours[key], f"{where}.{key}")
        elif plain(value) != plain(ours[key]):
            found.append(f"{where}.{key}: {value!r}, here {ours[key]!r}")
    return found


def recipe(theirs: Any, ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What the training does, theirs and ours."""
    rate, train = theirs.lr_config, theirs.data.train
    times = train.get("times", 1)
    load = next(s for s in (train.dataset if times > 1 else train).pipeline if "Annotations" in s["type"])
    epochs = theirs.runner.max_epochs
    return {
        "optimizer": (plain(theirs.optimizer), {k: ours["optimizer"][k] for k in theirs.optimizer}),
        "clipping": (theirs.optimizer_config.grad_clip, ours["clip_grad"]),
        "warm-up": ((rate.warmup_iters, rate.warmup_ratio), (ours["warmup_iterations"], ours["warmup_factor"])),
        "drops": ([step / epochs for step in rate.step], ours["schedule"]["drops"]),
        "passes over the images": (epochs * times, ours["one_x"]["epochs"] * ours["schedule"]["length"]),
        "batch": (theirs.data.samples_per_gpu * 8, ours["batch"]),
        "images that share an orientation": (theirs.data.samples_per_gpu, ours["neighbours"]),
        "masks as polygons": (not load.get("poly2mask", True), train_pipeline(ours)[1]["type"] == "LoadPolygons"),
        "backbone weights": (theirs.model.backbone.init_cfg.checkpoint, ours["weights"]),
    }


def compare(released: Released) -> None:
    """Every value of the released configurations, and the category lists."""
    for schedule, backbone in (("1x", "r50"), ("3x", "r50"), ("1x", "r101"), ("3x", "r101")):
        theirs, ours = released.config(backbone[1:], schedule), config("official", schedule, backbone)
        values = {key: pair for key, pair in recipe(theirs, ours).items() if pair[0] != pair[1]}
        others = differing(plain(theirs.model), ours["model"], "model")
        for text in (*others, *(f"{key}: {one}, here {two}" for key, (one, two) in values.items())):
            print(f"       | {text}")
        say(f"configuration {backbone} {schedule}", "every value", len(values) + len(others), 0)
    named = released.cocops.CocoPSDataset.NOVEL_CLASSES
    categories = [{"id": c.id, "name": c.name} for c in coco_categories()]
    ids = [c["id"] for c in categories]
    base, novel, _ = resolve_split("nonvoc2voc", categories)
    wrong = sum(set(named[k]) != {ids.index(i) for i in part} for k, part in (("voc", novel), ("nonvoc", base)))
    say("voc and nonvoc labels", "80 categories", wrong, 0)
