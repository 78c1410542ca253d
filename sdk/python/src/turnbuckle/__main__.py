"""python -m turnbuckle serve FILE; python -m turnbuckle tyk --folder DIR; python -m turnbuckle probe. SHIM.md has all of it."""

import sys

from turnbuckle import probe

if __name__ == "__main__":
    if sys.argv[1:] == ["probe"]:
        sys.exit(probe.tell())
    if probe.unfit():
        sys.exit(probe.UNFIT)
    from turnbuckle.main import main

    sys.exit(main())
