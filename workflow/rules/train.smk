# One training. config.json, checkpoints, lock and curves are undeclared: Snakemake deletes declared outputs before a job
# and after a failure, and these must outlive both. config.json is written anew before each start, so that it says how
# many GPUs and which tables there are today; only a change of the configuration itself (params) trains again.


rule train:
    input:
        split=training_data,
        weights=backbone_weights,
        priors=shape_priors,
        start=starting_weights,
    output:
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
        '(contrastmask configure {wildcards.run:q} --seed {wildcards.seed} --settings "$settings") >> {log:q} 2>&1'
        ' && contrastmask train "$(dirname {output.weights:q})" >> {log:q} 2>&1'
