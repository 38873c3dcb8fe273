"""The test pack: tools that try out queues, limits, retries, output and cancellation without writing one.

Off by default; `JOBYARD_TOOL_PACKS=test` turns it on. docs/tool-packs/test.md lists the tools.
"""

from __future__ import annotations

from pathlib import Path

from jobyard.author import Pack

from jobyard_executor.tools.test import basics, effects, family, load, printing, sleeping

PACK = Pack(
    name="test",
    functions=(*basics.TOOLS, *sleeping.TOOLS, *printing.TOOLS, *effects.TOOLS, *load.TOOLS, *family.TOOLS),
    folders=(Path(__file__).parent / "scripts",),
)
