# One training. Checkpoints, lock and tracking spool live in work/, undeclared: Snakemake deletes declared outputs
# before a job and after a failure, and progress must outlive both.


rule train:
    input:
        split=training_data,
        weights=backbone_weights,
        priors=shape_priors,
    output:
        config=f"{RUN}/config.json",
        weights=f"{RUN}/model.pth",
        record=f"{RUN}/train.json",
    log:
        str(OUT / "logs" / "train" / "{run}_seed{seed}.log"),
    benchmark:
        str(OUT / "benchmarks" / "train" / "{run}_seed{seed}.jsonl")
    wildcard_constraints:
        run=TRAINED,
    threads: SETTINGS.scale["threads"] * SETTINGS.gpus_per_run
    resources:
        gpu=SETTINGS.gpus_per_run,
    params:
        config_hash=config_hash,
    message:
        "Training {wildcards.run}, seed {wildcards.seed}"
    shell:
        "exec {PYTHON} -m contrastmask train --run {wildcards.run:q} --seed {wildcards.seed}"
        " --settings {SETTINGS_JSON:q} >> {log:q} 2>&1"
