"""test.fail.command"""

import json
import os
import sys
from pathlib import Path

parameters = json.loads(Path("parameters.json").read_bytes())
message = parameters.get("message", "failed on purpose")
sys.stderr.buffer.write(message.encode() + b"\n")
sys.stderr.flush()
if not parameters.get("retryable", True):
    error = {"error": {"code": "exit_code", "message": message, "retryable": False}}
    os.write(int(os.environ["JOBYARD_CHANNEL_FD"]), json.dumps(error).encode() + b"\n")
sys.exit(int(parameters.get("exit_code", 1)))
