"""`python -m jobyard_executor.worker <descriptor> <settings as JSON>`: started by the control process only."""

from __future__ import annotations

import sys

import msgspec

from jobyard_executor.worker.forge import main
from jobyard_executor.worker.settings import WorkerSettings

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=WorkerSettings)))
