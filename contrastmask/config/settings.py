"""configs/config.yaml and the command line, checked: what to make, at which scale, from which data, where to."""

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from contrastmask import paths
from contrastmask.config.fragments import check_free, part
from contrastmask.config.options import METHODS, check_options
from contrastmask.config.yamlfiles import check, read_yaml
from contrastmask.errors import ConfigError
from contrastmask.runtime.gpu import visible_gpus
from contrastmask.runtime.terminal import natural

ALL_MASKS = "instances_train_all_masks.json"  # beside a split's file without novel masks; for upper bounds only
OF_PAPER = re.compile("table[1-7]")  # the tables that the paper prints


@dataclass(frozen=True)
class Settings:
    """The checked configuration: what to make, at which scale, from which data, where to."""

    scale: dict[str, Any]
    preset: str
    seeds: tuple[int, ...]
    tables: tuple[str, ...]
    """What `snakemake` makes without a target."""
    results: Path
    data_root: str | None
    gpus_per_run: int
    images_per_gpu: int
    weights: tuple[tuple[str, str], ...]

    @property
    def passes(self) -> int:
        """Forward and backward passes of each GPU in an optimisation step, which is always over the scale's batch."""
        return self.scale["batch"] // (self.gpus_per_run * self.images_per_gpu)

    @property
    def folder(self) -> Path:
        """results/<scale>"""
        return self.results / self.scale["name"]

    @property
    def dataset(self) -> Path:
        """The verified dataset's description."""
        return self.folder / "data" / "dataset.json"

    def setting(self, name: str) -> str:
        """The setting that this scale trains for a row's: the same, or what stands in for it on other categories."""
        return self.scale.get("settings", {}).get(name, name)

    def split(self, setting: str) -> Path:
        """A row's split; the training annotations without novel masks lie beside it."""
        return self.folder / "data" / self.setting(setting) / "split.json"

    def annotations(self, setting: str, novel_masks: bool) -> Path:
        """Training annotations without novel masks; with all masks for a run that measures an upper bound."""
        return self.split(setting).with_name(ALL_MASKS if novel_masks else "instances_train.json")

    def shape_priors(self, setting: str, options: dict[str, Any]) -> Path | None:
        """The shape priors that a method's options ask for; None if it has none."""
        if "prior_min_area" not in options:
            return None
        name = f"shape_priors-K{options['priors']}-a{options['prior_min_area']}.npz"
        return self.split(setting).with_name(name)

    def backbone(self, name: str) -> str:
        """The backbone that this scale trains for a row's: the same, or what stands in for it."""
        return self.scale.get("backbones", {}).get(name, name)

    def backbone_weights(self, backbone: str) -> Path:
        """The verified file of a backbone's ImageNet weights."""
        return self.folder / "weights" / f"{backbone}.pth"

    def run_folder(self, run: str, seed: int) -> Path:
        """Everything of one training."""
        return paths.run_folder(self.folder, run, seed)


def settings_with(changes: dict[str, Any]) -> Settings:
    """Those of configs/config.yaml with what differs from it, checked as by `load_settings`."""
    return load_settings(read_yaml(paths.CONFIGS / "config.yaml", "config") | changes)


def read_scale(name: str) -> dict[str, Any]:
    """configs/scales/<name>.yaml; ConfigError if it is not valid, or named otherwise inside, as a copy is."""
    scale = read_yaml(paths.CONFIGS / "scales" / f"{name}.yaml", "scale")
    if scale["name"] != name:
        raise ConfigError(f"configs/scales/{name}.yaml is named '{scale['name']}'; set its name: to its file name")
    return scale


def load_settings(config: dict[str, Any]) -> Settings:
    """Check a configuration (configs/config.yaml with the command line's changes) and load its scale.

    Raises:
        ConfigError: with the file, the key and the fix.
    """
    config = config | {"seeds": _numbers(config.get("seeds"))}
    if isinstance(results := config.get("results"), int | float):
        raise ConfigError(
            f"results: what was typed was read as the number {results}, with 2025_11 as 202511. Write it as a path: "
            "--config results=./2025_11 (in configs/config.yaml quotes do, results: '2025_11')"
        )
    check(config, "config", "the configuration (configs/config.yaml and --config)")
    scale = read_scale(config["scale"])
    try:
        check_free(scale.get("config", {}))
        for backbone in chain(*scale.get("backbones", {}).items()):
            part("backbones", backbone)
        if unknown := sorted(scale.get("options", {}).keys() - METHODS.keys()):
            raise ConfigError(f"options of an unknown method '{unknown[0]}'; there are: {', '.join(sorted(METHODS))}")
        for method, options in scale.get("options", {}).items():
            scale["options"][method] = check_options(method, options)
    except ConfigError as error:
        raise ConfigError(f"configs/scales/{scale['name']}.yaml: {error}") from None
    kind, data_root = scale["dataset"]["kind"], config["data_root"]
    if kind == "synthetic" and data_root:
        raise ConfigError(
            f"scale '{scale['name']}' makes its own data, so data_root={data_root} would be ignored; "
            "use scale=garments or scale=paper, or write a scale of dataset kind 'folder'"
        )
    if kind != "synthetic" and not (data_root or scale["dataset"].get("root")):
        raise ConfigError(f"scale '{scale['name']}' needs data: give --config data_root=FOLDER (dataset kind '{kind}')")
    gpus, images = _share(config["gpus_per_run"], config["images_per_gpu"], scale)
    tables = config["tables"]
    if isinstance(tables, str):
        every = (path.stem for path in (paths.CONFIGS / "tables").glob("*.yaml"))
        tables = [name for name in every if tables == "all" or OF_PAPER.fullmatch(name)]
    return Settings(
        scale=scale,
        preset=config["preset"],
        seeds=tuple(config["seeds"]),
        tables=tuple(sorted(tables, key=natural)),
        results=Path(config["results"]),
        data_root=data_root or scale["dataset"].get("root"),
        gpus_per_run=gpus,
        images_per_gpu=images,
        weights=tuple(sorted(config["weights"].items())),
    )


def _numbers(seeds: Any) -> Any:
    """Seeds as Snakemake's command line gives them, seeds=3 and seeds=[0,1] with texts for numbers, as a list."""
    listed = seeds if isinstance(seeds, list) else [seeds]
    return [int(seed) if isinstance(seed, str) and seed.isdecimal() else seed for seed in listed]


def _share(gpus: int | str, images: int | None, scale: dict[str, Any]) -> tuple[int, int]:
    """GPUs of a run, and images that each takes at once: together they make the scale's batch in a number of passes.

    `auto`: as many GPUs as can share the batch, or as many of them as are there. Without any, 1 is the CPU.

    Raises:
        ConfigError: no number of passes makes that batch.
    """
    batch = scale["batch"]
    if gpus == "auto":
        images = images or scale["images_per_gpu"]
        fitting = [n for n in range(1, batch // images + 1) if batch % (n * images) == 0]
        there = len(visible_gpus()) if len(fitting) > 1 else 1
        gpus = max((n for n in fitting if n <= there), default=1)
    gpus = int(gpus)
    images = images or min(scale["images_per_gpu"], max(batch // gpus, 1))
    if batch % (gpus * images):
        raise ConfigError(
            f"gpus_per_run={gpus} with images_per_gpu={images} cannot make the batch of {batch} images of scale "
            f"'{scale['name']}', which stays the same for any number of GPUs: their product must divide {batch}"
        )
    return gpus, images
