# What stands behind docs/evidence.md: a close look at trained maps (`snakemake prior`).
WITH_MAP = {name: run for name, run in RUNS.items() if run.method == "contrastmask"}


rule diagnose:
    input:
        weights=f"{RUN}/model.pth",
        record=f"{RUN}/train.json",
    output:
        f"{RUN}/prior.csv",
    log:
        str(OUT / "logs" / "diagnose" / "{run}_seed{seed}.log"),
    wildcard_constraints:
        run=like(WITH_MAP.values()),
    threads: SETTINGS.scale["threads"]
    resources:
        gpu=1,
    message:
        "Looking at the prior of {wildcards.run}, seed {wildcards.seed}"
    shell:
        'contrastmask diagnose "$(dirname {output:q})" > {log:q} 2>&1'


rule prior:
    input:
        [
            str(SETTINGS.run_folder(run, seed) / "prior.csv")
            for run in experiment.all_runs({name: TABLES[name] for name in SETTINGS.tables})
            if run in WITH_MAP
            for seed in SETTINGS.seeds
        ],
    output:
        csv=str(OUT / "prior.csv"),
        md=str(OUT / "prior.md"),
    log:
        str(OUT / "logs" / "prior.log"),
    message:
        "Comparing the priors of the wanted tables' runs"
    shell:
        'contrastmask prior "$(dirname {output.csv:q})" {input:q} > {log:q} 2>&1'
