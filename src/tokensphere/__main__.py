"""`python -m tokensphere`: the command, where it is not installed."""

import sys

from tokensphere.cli import main

if __name__ == "__main__":
    sys.exit(main())
