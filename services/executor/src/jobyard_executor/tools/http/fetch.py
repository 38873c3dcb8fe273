"""`http.fetch`: one HTTP call to a public address, its body as an output file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jobyard.author import Context, tool
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

if TYPE_CHECKING:
    from jobyard_executor.tools.http.guard import Lookup
    from jobyard_executor.tools.http.settings import HttpSettings

MIB = 2**20
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e\t]*$", max_length=8192)]


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=8192, description="http or https; the address must be public")
    method: Literal["GET", "HEAD", "POST"] = "GET"
    headers: dict[HeaderName, HeaderValue] = Field(default={}, max_length=50, description="request headers")
    body: str | None = Field(default=None, max_length=65_536, description="text to POST, sent as UTF-8")
    save_as: str = Field(default="body", min_length=1, max_length=255, description="name of the output file")
    max_bytes: int = Field(default=20 * MIB, ge=1, le=1024 * MIB, description="a larger body fails the job")
    timeout_s: float = Field(default=30, gt=0, le=900, description="for everything, redirects included")
    max_redirects: int = Field(default=5, ge=0, le=10)
    expect: Literal["any", "success"] = Field(
        default="any", description="`success` fails the job for a status outside 200 to 299"
    )


@tool(
    "http.fetch",
    version="1",
    title="Fetch a URL",
    timeout_s=960,
    limits={"max_bytes": 1024 * MIB, "redirects": 10},
    examples=({"url": "https://example.org/"},),
)
async def fetch(ctx: Context, params: Params) -> dict[str, Any]:
    """Call an http or https URL and keep the body as an output file.

    Returns status, headers, size and SHA-256. Private, loopback, link-local and metadata addresses are refused, also
    when a redirect or a changing DNS answer leads there. The body is kept as it was sent, without decompression.
    """
    await asyncio.to_thread(_prepare)
    from jobyard_executor.tools.http.guard import system_lookup
    from jobyard_executor.tools.http.settings import HttpSettings

    return await fetch_with(ctx, params, settings=HttpSettings(), lookup=system_lookup)


def _prepare() -> None:
    """Load the client and the certificate authorities: too slow for the loop that other jobs share."""
    from jobyard_executor.tools.http.call import trust

    trust()


async def fetch_with(ctx: Context, params: Params, *, settings: HttpSettings, lookup: Lookup) -> dict[str, Any]:
    """As the tool, with the given settings and resolver."""
    from jobyard_executor.tools.http.call import Caller

    return await Caller(ctx, params, settings=settings, lookup=lookup).run()
