"""`python -m tokensphere`: the command, where it is not installed."""

import sys

from tokensphere.cli import main

sys.exit(main())
