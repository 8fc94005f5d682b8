"""`python -m backpropagate`: the same command as `backprop`."""

import sys

from backpropagate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
