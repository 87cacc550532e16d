# One rule a table, named like its file in configs/tables: `snakemake table5`.
for table in TABLES.values():

    rule:
        name:
            table.name
        input:
            metrics_of(table),
            config_file("tables", f"{table.name}.yaml"),
        output:
            in_report(table_files([table.name]), ".html", "tables"),
        log:
            str(OUT / "logs" / "tables" / f"{table.name}.log"),
        localrule: True
        params:
            table=table.name,
            scale=config["scale"],
            preset=SETTINGS.preset,
            seeds=SEEDS,
        message:
            "Assembling {params.table}"
        shell:
            "contrastmask tables {params.table:q} --scale {params.scale:q} --preset {params.preset:q}"
            ' --seeds {params.seeds:q} --results "$results" > {log:q} 2>&1'
