"""`python -m jobyard_gateway [migrate | mint-key]`; without an argument it serves."""

from __future__ import annotations

import sys

from jobyard_gateway.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
