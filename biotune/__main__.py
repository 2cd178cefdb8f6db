"""`python -m biotune`, the same as the command `biotune`."""

import sys

from biotune.cli import main

if __name__ == "__main__":
    sys.exit(main())
