"""The command line as `python -m producers.cli`."""

import sys

from producers.cli import main

if __name__ == "__main__":
    sys.exit(main())
