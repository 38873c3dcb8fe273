"""The archive pack: `archive.inspect`. docs/tool-packs/archive.md describes it.

Nothing is ever written to disk from an archive: members are read through counters and thrown away.
"""

from __future__ import annotations

from jobyard.author import Pack

from jobyard_executor.tools.archive.inspect import inspect

PACK = Pack(name="archive", functions=(inspect,))
