"""The http pack: `http.fetch`. docs/tool-packs/http.md describes it.

`addresses` says which addresses may be called, `guard` turns a URL into a checked address, `fetch` calls it.
"""

from __future__ import annotations

from jobyard.author import Pack

from jobyard_executor.tools.http.fetch import fetch

PACK = Pack(name="http", functions=(fetch,))
