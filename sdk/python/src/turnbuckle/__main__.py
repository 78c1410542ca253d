"""python -m turnbuckle serve FILE; python -m turnbuckle tyk DIR."""

import sys

from turnbuckle.main import main

if __name__ == "__main__":
    sys.exit(main())
