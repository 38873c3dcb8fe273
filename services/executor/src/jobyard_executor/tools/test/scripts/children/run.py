"""test.children.command"""

import json
import os
import sys
from pathlib import Path

parameters = json.loads(Path("parameters.json").read_bytes())
with os.fdopen(int(os.environ["JOBYARD_CHANNEL_FD"]), "w") as channel:
    for number in range(parameters.get("count", 1)):
        child = {"tool": parameters.get("tool", "test.echo"), "parameters": {"value": number}}
        channel.write(json.dumps({"submit": child}) + "\n")
sys.exit(1 if int(os.environ["JOBYARD_ATTEMPT"]) <= parameters.get("failures", 0) else 0)
