"""`python -m contrastmask`: the same as the command `contrastmask`, also where the package is not installed."""

from contrastmask.cli import main

if __name__ == "__main__":
    main(prog_name="contrastmask")
