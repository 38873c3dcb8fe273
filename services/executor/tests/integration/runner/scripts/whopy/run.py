import json
import os
from pathlib import Path

groups = " ".join(map(str, {os.getgid(), *os.getgroups()}))
Path("result.json").write_text(json.dumps({"uid": os.getuid(), "groups": groups}))
