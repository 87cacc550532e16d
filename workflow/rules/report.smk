# One page with every wanted table, the runs behind its cells, plots and figures. By hand, also half-way:
# contrastmask report


def other_measurements():
    """When runs that no wanted table needs were measured: the page shows them too, and is written again for new ones."""
    wanted = experiment.all_runs({name: TABLES[name] for name in SETTINGS.tables})
    others = [
        SETTINGS.run_folder(run, seed) / "metrics.json" for run in RUNS for seed in SETTINGS.seeds if run not in wanted
    ]
    return {str(file): file.stat().st_mtime_ns for file in others if file.exists()}


rule report:
    input:
        table_files(SETTINGS.tables),
        figures_for_free(),
    output:
        str(OUT / "report" / "index.html"),
    log:
        str(OUT / "logs" / "report.log"),
    localrule: True
    params:
        other_measurements=other_measurements(),
    message:
        "Writing the report: {output}"
    shell:
        "{PYTHON} -m contrastmask report --settings {SETTINGS_JSON:q} > {log:q} 2>&1"
