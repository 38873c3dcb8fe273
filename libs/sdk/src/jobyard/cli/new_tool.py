"""A folder with a command tool that runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from jobyard.cli.codes import UsageError

_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")

_TOML = """\
name = "{name}"
version = "1"
title = "{title}"
description = "Counts the lines of a text file that hold a word."
argv = {argv}
queue = "default"
timeout_s = 300

[slots.data]
description = "The text to look through."

[parameters]
type = "object"
additionalProperties = false
required = ["word"]

[parameters.properties.word]
type = "string"
minLength = 1
maxLength = 200
description = "The word to look for."
"""

_PYTHON = '''\
"""Runs in a work dir of its own: parameters.json, in/<slot>, out/ for files, result.json for the value."""

import json
import os
from pathlib import Path

channel = os.fdopen(int(os.environ["JOBYARD_CHANNEL_FD"]), "w", buffering=1)


def tell(message):
    """One line of JSON: {"progress": …}, {"log": …} or {"error": …}."""
    channel.write(json.dumps(message) + "\\n")


word = json.loads(Path("parameters.json").read_text())["word"]
source = Path("in/data")
size, read, count = source.stat().st_size, 0, 0
Path("out").mkdir(exist_ok=True)
with source.open("rb") as lines, open("out/lines.txt", "wb") as found:
    for number, line in enumerate(lines, 1):
        read += len(line)
        if word.encode() in line:
            count += 1
            found.write(line)
        if number % 10_000 == 0:
            tell({"progress": {"done": read, "total": size, "note": f"{count} found"}})
tell({"log": {"level": "info", "message": "done", "fields": {"lines": count}}})
Path("result.json").write_text(json.dumps({"word": word, "lines": count}))
'''

_SHELL = """\
#!/bin/sh
# Runs in a work dir of its own: parameters.json, in/<slot>, out/ for files, result.json for the value.
# Descriptor 3 takes one line of JSON each: {"progress": ...}, {"log": ...} or {"error": ...}.
set -eu

word=$(sed -n 's/.*"word"[[:space:]]*:[[:space:]]*"\\([^"\\\\]*\\)".*/\\1/p' parameters.json)
if [ -z "$word" ]; then
  echo '{"error": {"code": "bad_word", "message": "this example takes words without quotes", "retryable": false}}' >&3
  exit 1
fi
mkdir -p out
grep -F -e "$word" in/data > out/lines.txt || true
count=$(wc -l < out/lines.txt)
echo '{"progress": {"done": 1, "total": 1, "note": "searched"}}' >&3
printf '{"lines": %d}\\n' "$count" > result.json
"""

_README = """\
# {name}

A tool for Jobyard: `tool.toml` describes it, `{script}` does the work.

Copy this folder to where your executor looks for tool folders (see the project's docs/tools.md), then:

    jobyard tools show {name}
    jobyard run {name} -p word=the --file some-text.txt --follow
"""

_LANGUAGES = {
    "python": ("run.py", '["{python}", "{folder}/run.py"]', _PYTHON),
    "sh": ("run.sh", '["sh", "{folder}/run.sh"]', _SHELL),
}


def create(name: str, *, lang: str, folder: Path) -> list[str]:
    """Write the files into `folder`, which must be new or empty; returns their names."""
    if not _NAME.fullmatch(name) or len(name) > 128:
        raise UsageError(f"{name[:60]!r} is no tool name: lower-case words joined by dots, such as text.count")
    if lang not in _LANGUAGES:
        raise UsageError(f"--lang {lang[:40]!r}: write {' or '.join(_LANGUAGES)}")
    script, argv, source = _LANGUAGES[lang]
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} is there already and not empty; choose another by --dir")
    folder.mkdir(parents=True, exist_ok=True)
    title = name.replace(".", " ").replace("_", " ").capitalize()
    contents = {
        "tool.toml": _TOML.format(name=name, title=title, argv=argv),
        script: source,
        "README.md": _README.format(name=name, script=script),
    }
    for file, content in contents.items():
        (folder / file).write_text(content, encoding="utf-8")
    (folder / script).chmod(0o755)
    return list(contents)
