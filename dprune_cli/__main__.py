"""`python -m dprune_cli` is `dprune`."""

from dprune_cli.cli.app import main

if __name__ == "__main__":
    main()
