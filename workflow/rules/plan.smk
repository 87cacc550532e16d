# The price in advance: estimates are kept before anything runs, so that `contrastmask plan` can hold them against it.


def save_plan():
    """Write plan.json for what is not done yet. A failure here harms nothing."""
    settings = [f"{key}={json.dumps(value)}" for key, value in config.items()]
    command = [PYTHON, "-m", "contrastmask", "plan", "--save", "--quiet", "--config", *settings]
    subprocess.run(command, cwd=workflow.basedir, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


onstart:
    save_plan()
