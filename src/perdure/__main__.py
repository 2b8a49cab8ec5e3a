"""`python -m perdure`: the command line, where no `perdure` script is on the path."""

from perdure.cli import main

if __name__ == "__main__":
    main()
