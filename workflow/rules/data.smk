# Data: generated or found, verified once, split so that no novel mask is left.
#
# What a person must read of the first two is shown as it is said; after a failure the log gets another name, since
# Snakemake would show it once more.


rule dataset:
    input:
        annotation_files(),
    output:
        str(SETTINGS.dataset),
    log:
        str(OUT / "logs" / "dataset.log"),
    params:
        data=json.dumps({k: v for k, v in SETTINGS.scale["dataset"].items() if k != "root"}, sort_keys=True),
        root=SETTINGS.data_root or str(OUT / "data" / "synthetic"),
    message:
        "Verifying the data in {params.root}"
    shell:
        "contrastmask prepare {params.root:q} --data {params.data:q} --out {output:q} 2>&1 | tee {log:q}"
        " || {{ mv {log:q} {log:q}.failed; exit 2; }}"


rule split:
    input:
        dataset=str(SETTINGS.dataset),
        lists=split_lists,
    output:
        split=str(OUT / "data" / "{setting}" / "split.json"),
        annotations=str(OUT / "data" / "{setting}" / "instances_train.json"),
    log:
        str(OUT / "logs" / "split_{setting}.log"),
    message:
        "Replacing every novel mask by its box: {wildcards.setting}"
    shell:
        "contrastmask split {wildcards.setting:q} --dataset {input.dataset:q}"
        ' --out "$(dirname {output.split:q})" 2>&1 | tee {log:q}'
        " || {{ mv {log:q} {log:q}.failed; exit 2; }}"


rule all_masks:
    input:
        dataset=str(SETTINGS.dataset),
        lists=split_lists,
    output:
        str(OUT / "data" / "{setting}" / ALL_MASKS),
    log:
        str(OUT / "logs" / "all_masks_{setting}.log"),
    message:
        "Keeping novel masks for an upper bound that breaks the protocol: {wildcards.setting}"
    shell:
        "contrastmask split {wildcards.setting:q} --dataset {input.dataset:q} --all-masks"
        ' --out "$(dirname {output:q})" 2>&1 | tee {log:q}'


rule shape_priors:
    input:
        split=str(OUT / "data" / "{setting}" / "split.json"),
        annotations=str(OUT / "data" / "{setting}" / "instances_train.json"),
    output:
        priors=str(OUT / "data" / "{setting}" / "shape_priors-K{priors}-a{area}.npz"),
        record=str(OUT / "data" / "{setting}" / "shape_priors-K{priors}-a{area}.json"),
    log:
        str(OUT / "logs" / "shape_priors_{setting}-K{priors}-a{area}.log"),
    message:
        "Clustering base masks into {wildcards.priors} shape priors: {wildcards.setting}"
    shell:
        "contrastmask shape-priors --annotations {input.annotations:q} --split {input.split:q}"
        " --priors {wildcards.priors} --min-area {wildcards.area} --out {output.priors:q} 2>&1 | tee {log:q}"


rule weights:
    output:
        str(OUT / "weights" / "{backbone}.pth"),
    log:
        str(OUT / "logs" / "weights_{backbone}.log"),
    retries: 2
    localrule: True  # the nodes of a cluster often have no way out
    params:
        source=lambda wildcards: experiment.weights_source(wildcards.backbone, SETTINGS),
    message:
        "Fetching the ImageNet weights of {wildcards.backbone} from {params.source}"
    shell:
        "contrastmask weights {wildcards.backbone:q} --source {params.source:q} --out {output:q} 2>&1 | tee {log:q}"


rule download:
    log:
        str(OUT / "logs" / "download.log"),
    localrule: True
    params:
        root=SETTINGS.data_root or "data/coco",
    message:
        "Fetching COCO 2017 into {params.root} (20 GB; goes on where it stopped)"
    shell:
        "contrastmask download {params.root:q} 2>&1 | tee {log:q}"
