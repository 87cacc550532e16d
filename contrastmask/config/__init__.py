"""From a table's row to a run, and from a run to its resolved configuration.

    configs/config.yaml + command line ──load_settings──▶ Settings
    configs/tables/*.yaml ──load_tables──▶ Table > Row > RunSpec        rows that need the same training share a RunSpec
    RunSpec + Settings ──resolve──▶ nested dict of plain data ──config_hash──▶ what decides whether to train again

No torch and no mmengine: Snakemake reads this for every job.
"""

from contrastmask.config.resolve import backbone_config, check_groups, config_hash, resolve, weights_source
from contrastmask.config.rows import (
    Row,
    RunSpec,
    Table,
    all_runs,
    find_run,
    load_table,
    load_tables,
    run_spec,
    split_lists,
)
from contrastmask.config.settings import Settings, load_settings, settings_with
from contrastmask.paths import CONFIGS

__all__ = [
    "CONFIGS",
    "Row",
    "RunSpec",
    "Settings",
    "Table",
    "all_runs",
    "backbone_config",
    "check_groups",
    "config_hash",
    "find_run",
    "load_settings",
    "load_table",
    "load_tables",
    "resolve",
    "run_spec",
    "settings_with",
    "split_lists",
    "weights_source",
]
