"""test.echo.command"""

import json
from pathlib import Path

parameters = json.loads(Path("parameters.json").read_bytes())
value = json.dumps(parameters.get("value"), ensure_ascii=False, separators=(",", ":"))
Path("result.json").write_text(value, encoding="utf-8")
