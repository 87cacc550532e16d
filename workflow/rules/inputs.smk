# The small functions that say what a rule needs.
import functools
import os
import re

from contrastmask.config.settings import ALL_MASKS
from contrastmask.data.layouts import find_parts
from contrastmask.errors import DataError
from contrastmask.report.figure_rows import TEXTS, figure_rows


def like(runs):
    """Pattern of the wildcard {run} in a rule for such runs.

    It names their families, not each run: Snakemake goes through the pattern for every file of every job.
    """
    families = "|".join(sorted({re.escape(run.family) for run in runs}))
    return rf"(?:{families})(?:_[A-Za-z0-9_.\-]+)?" if families else "(?!)"


TRAINED = like(run for run in RUNS.values() if not run.detector)
DERIVED = like(run for run in RUNS.values() if run.detector)


def run_of(wildcards):
    """The run of that id, or one readable error: a file of a run that no table has may be asked for by its path."""
    if wildcards.run not in RUNS:
        raise WorkflowError(f"no row of a table in configs/tables has the run '{wildcards.run}'")
    return RUNS[wildcards.run]


def config_file(*parts):
    """A file of configs/, relative to where Snakemake works, so that a moved project is not made again."""
    return os.path.relpath(experiment.CONFIGS.joinpath(*parts))


def split_lists(wildcards):
    """The two category lists of a setting."""
    return [config_file(path) for path in experiment.split_lists(wildcards.setting)]


@functools.cache
def resolved(run):
    """A run's resolved configuration, worked out once: Snakemake asks for several things of each run."""
    return experiment.resolve(run, SETTINGS)


def config_hash(wildcards):
    """Identity of a run's resolved configuration: when it changes, the run is made again."""
    return experiment.config_hash(resolved(run_of(wildcards)))


def training_data(wildcards):
    """The split, whose annotations have no novel masks; a run that measures an upper bound reads a file that has."""
    run = run_of(wildcards)
    split = SETTINGS.split(run.setting)
    return [str(split), *([str(split.with_name(ALL_MASKS))] if run.uses_novel_masks else [])]


def annotation_files():
    """The annotation files of data that is not made here: edited, they are verified and split again."""
    if SETTINGS.scale["dataset"]["kind"] in ("synthetic", "clothing"):
        return []
    try:
        parts = find_parts(SETTINGS.scale["dataset"], Path(SETTINGS.data_root))
    except DataError:
        return []  # the rule itself says what is missing
    return [str(part.annotations) for part in parts]


def backbone_weights(wildcards):
    """The backbone's ImageNet weights, unless this scale starts from random ones."""
    config = resolved(run_of(wildcards))
    return [str(SETTINGS.backbone_weights(config["backbone"]))] if config["weights"] else []


def starting_weights(wildcards):
    """The detector from which all runs start, at a scale that has one."""
    start = run_of(wildcards).start
    return [str(SETTINGS.run_folder(start.id, wildcards.seed) / "model.pth")] if start else []


def shape_priors(wildcards):
    """ShapeMask's priors; nothing for every other method."""
    run = run_of(wildcards)
    options = resolved(run)["model"]["roi_head"]["options"]
    priors = SETTINGS.shape_priors(run.setting, options)
    return [str(priors)] if priors else []


def of_detector(name):
    """A file of the run whose detections a run reads, with the same seed."""
    return lambda wildcards: str(SETTINGS.run_folder(run_of(wildcards).detector.id, wildcards.seed) / name)


def metrics_of(table):
    """metrics.json of every distinct run and seed of a table."""
    return [str(SETTINGS.run_folder(run.id, seed) / "metrics.json") for run in table.runs for seed in SETTINGS.seeds]


def table_files(names):
    return [str(OUT / "tables" / f"{name}{suffix}") for name in names for suffix in (".csv", ".md", ".html", ".tex")]


def in_report(files, suffix, kind):
    """Of a rule's files those that `snakemake --report` shows, with the caption workflow/report/<kind>.rst."""
    caption = f"../report/{kind}.rst"
    return [report(file, caption=caption, category=kind) if file.endswith(suffix) else file for file in files]


def other_measurements():
    """When runs that no wanted table needs were measured: the page shows them too, and is written again for new ones."""
    wanted = experiment.all_runs({name: TABLES[name] for name in SETTINGS.tables})
    others = [
        SETTINGS.run_folder(run, seed) / "metrics.json" for run in RUNS for seed in SETTINGS.seeds if run not in wanted
    ]
    return {str(file): file.stat().st_mtime_ns for file in others if file.exists()}


def load_figures():
    """The runs of each figure, or one readable error before any work starts."""
    try:
        return {name: list(figure_rows(name, SETTINGS.preset, scale=SETTINGS.scale).values()) for name in TEXTS}
    except ValueError as error:
        raise WorkflowError(visible(str(error))) from None


FIGURES = load_figures()


def figure_files(name):
    return [str(OUT / "figures" / f"{name}{suffix}") for suffix in (".png", ".pdf")]


def figure_inputs(name, specs):
    """What a figure reads of its runs: detections, or the model."""
    file = "detections.json.gz" if name == "figure6" else "model.pth"
    return [str(SETTINGS.run_folder(spec.id, SETTINGS.seeds[0]) / file) for spec in specs]


def figures_for_free():
    """Files of the figures whose runs the wanted tables need anyway."""
    wanted = experiment.all_runs({name: TABLES[name] for name in SETTINGS.tables})
    names = [name for name, specs in FIGURES.items() if all(spec.id in wanted for spec in specs)]
    return [file for name in names for file in figure_files(name)]
