# The paper's claims (configs/claims.yaml) held against the runs that they name: `snakemake claims`.
from contrastmask.report.statements import load_statements


rule claims:
    input:
        lambda wildcards: [
            str(SETTINGS.run_folder(run.id, seed) / "metrics.json")
            for run in dict.fromkeys(
                run
                for claim in load_statements(SETTINGS.preset, scale=SETTINGS.scale)
                for run in claim.runs
                if not claim.beyond
            )
            for seed in SETTINGS.seeds
        ],
        str(SETTINGS.dataset),
        config_file("claims.yaml"),
    output:
        in_report([str(OUT / "claims.csv"), str(OUT / "claims.md")], ".csv", "claims"),
    log:
        str(OUT / "logs" / "claims.log"),
    params:
        scale=config["scale"],
        preset=SETTINGS.preset,
        seeds=SEEDS,
    message:
        "Holding the paper's claims against the runs"
    shell:
        "contrastmask claims --scale {params.scale:q} --preset {params.preset:q} --seeds {params.seeds:q}"
        ' --results "$results" > {log:q} 2>&1'
