# ContrastMask (CVPR 2022), reproduced: from images to Tables 1-7.
#
#   snakemake --cores 2                      Tables 1-7 at smoke scale, on embedded synthetic data
#   snakemake --cores 2 table5               one table, and only the runs that it needs
#   snakemake --cores 2 report               the tables, then one page with everything behind them
#   snakemake --cores 8 --config scale=paper data_root=/data/coco      the real thing
#   snakemake -n                             what would be done, and why
#
# Settings: configs/config.yaml. A new ablation: one file in configs/tables. Results: results/<scale>/.


configfile: f"{workflow.basedir}/configs/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/ending.smk"


rule all:
    default_target: True
    input:
        table_files(SETTINGS.tables),


onsuccess:
    say_what_is_there()


onerror:
    render_what_is_there()
