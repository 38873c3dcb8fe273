"""The call itself: pinned connections, redirects checked anew, a body counted while it comes."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import httpx
from jobyard.author import Context, RetryLater, ToolError

from jobyard_executor.tools.http.fetch import Params
from jobyard_executor.tools.http.guard import DEFAULT_PORTS, Lookup, Target, checked
from jobyard_executor.tools.http.settings import HttpSettings

CONNECT_S = 10.0
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect", "keep-alive"}
)
SECRETS = frozenset({"authorization", "cookie", "proxy-authorization"})
MOST_HEADERS, LONGEST_HEADER = 100, 4096
REPORT_EVERY = 256 * 1024


class Caller:
    """One job's call, with all its redirects."""

    def __init__(self, ctx: Context, params: Params, *, settings: HttpSettings, lookup: Lookup) -> None:
        self._ctx = ctx
        self._params = params
        self._settings = settings
        self._lookup = lookup
        self._method = params.method
        self._body = params.body.encode() if params.body is not None and params.method == "POST" else None
        self._headers = _request_headers(params.headers)

    async def run(self) -> dict[str, Any]:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._params.timeout_s):
                value = await self._follow()
        except TimeoutError:
            raise ToolError(
                f"No complete answer within {self._params.timeout_s:g} s.", code="upstream_timeout"
            ) from None
        except ssl.SSLError as error:
            raise _tls(error) from None
        except httpx.TimeoutException as error:
            raise ToolError(f"The server did not answer: {_name(error)}.", code="upstream_timeout") from None
        except httpx.HTTPError as error:
            if isinstance(error.__cause__, ssl.SSLError) or "SSL" in str(error) or "certificate" in str(error):
                raise _tls(error) from None
            raise ToolError(f"The call failed: {_name(error)}.", code="upstream_unavailable") from None
        return value | {"elapsed_ms": round((time.monotonic() - began) * 1000)}

    async def _follow(self) -> dict[str, Any]:
        url = self._params.url
        seen: list[str] = []
        async with httpx.AsyncClient(
            verify=trust(), trust_env=False, follow_redirects=False, timeout=httpx.Timeout(None, connect=CONNECT_S)
        ) as client:
            while True:
                target = await checked(url, settings=self._settings, lookup=self._lookup)
                self._ctx.log.info("calling", url=url, address=str(target.addresses[0]), method=self._method)
                async with self._answer(client, target) as answer:
                    location = answer.headers.get("location")
                    if answer.status_code not in REDIRECTS or location is None:
                        return await self._kept(answer, url, seen)
                seen.append(url)
                if len(seen) > self._params.max_redirects:
                    raise _final("too_many_redirects", f"More than {self._params.max_redirects} redirects.")
                url = self._redirected(target, answer.status_code, location)

    @asynccontextmanager
    async def _answer(self, client: httpx.AsyncClient, target: Target) -> AsyncIterator[httpx.Response]:
        response = await self._first_answer(client, target)
        try:
            yield response
        finally:
            await response.aclose()

    async def _first_answer(self, client: httpx.AsyncClient, target: Target) -> httpx.Response:
        """From the first of the checked addresses that lets us connect."""
        name = f"[{target.host}]" if ":" in target.host else target.host
        shown = name if target.port == DEFAULT_PORTS[target.url.scheme] else f"{name}:{target.port}"
        for position, address in enumerate(target.addresses, start=1):
            request = client.build_request(
                self._method,
                target.at(address),
                headers={**self._headers, "Host": shown},
                content=self._body,
                extensions={"sni_hostname": target.host},
            )
            try:
                return await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if position == len(target.addresses):
                    raise
        raise AssertionError("a checked target has an address")

    def _redirected(self, target: Target, status: int, location: str) -> str:
        try:
            following = target.url.join(location)
        except httpx.InvalidURL:
            raise _final(
                "url_refused", f"The server redirects to something that is no URL: {location[:200]!r}."
            ) from None
        if status == 303 or (status in (301, 302) and self._method == "POST"):
            self._method = "GET" if self._method == "POST" else self._method
            self._body = None
        if (following.scheme, following.host, following.port) != (target.url.scheme, target.url.host, target.url.port):
            self._headers = {name: value for name, value in self._headers.items() if name.lower() not in SECRETS}
        return str(following)

    async def _kept(self, answer: httpx.Response, url: str, seen: list[str]) -> dict[str, Any]:
        value = {
            "status": answer.status_code,
            "url": url,
            "redirects": seen,
            "headers": _answer_headers(answer.headers),
            "content_type": answer.headers.get("content-type"),
        }
        if self._params.expect == "success" and not answer.is_success:
            message = f"{url} answered {answer.status_code} {answer.reason_phrase}".rstrip() + "."
            asked = answer.headers.get("retry-after", "")
            if answer.status_code in TRY_AGAIN and asked.isascii() and asked.isdigit() and len(asked) < 9:
                raise RetryLater(int(asked), message, code="status_unexpected")
            raise ToolError(message, code="status_unexpected", retryable=answer.status_code in TRY_AGAIN)
        size, digest = await self._body_of(answer)
        file = None if self._method == "HEAD" else self._params.save_as
        return value | {"size": size, "sha256": digest, "file": file}

    async def _body_of(self, answer: httpx.Response) -> tuple[int, str]:
        limit = self._params.max_bytes
        announced = answer.headers.get("content-length", "")
        total = int(announced) if announced.isdecimal() and len(announced) < 16 else None
        if total is not None and total > limit and self._method != "HEAD":
            raise _final("too_large", f"The body has {total:,} bytes; max_bytes is {limit:,}.")
        digest, size, reported = hashlib.sha256(), 0, 0
        if self._method == "HEAD":
            return size, digest.hexdigest()
        with self._ctx.save_file(self._params.save_as).open("wb") as file:
            async for chunk in answer.aiter_raw():
                size += len(chunk)
                if size > limit:
                    raise _final("too_large", f"The body has more than max_bytes = {limit:,} bytes.")
                digest.update(chunk)
                file.write(chunk)
                if size - reported >= REPORT_EVERY:
                    self._ctx.progress(size, total, "bytes")
                    reported = size
        self._ctx.progress(size, size, "bytes")
        return size, digest.hexdigest()


@cache
def trust() -> ssl.SSLContext:
    """Certificate authorities are read once a process: it takes tens of milliseconds."""
    return httpx.create_ssl_context()


def _request_headers(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if name.lower() in OURS or name.lower().startswith("proxy-"):
            raise _final("header_refused", f"The header {name!r} is set by the call itself.")
    given = {name.lower() for name in headers}
    defaults = {"User-Agent": "Jobyard http.fetch", "Accept": "*/*", "Accept-Encoding": "identity"}
    return {name: value for name, value in defaults.items() if name.lower() not in given} | headers


def _answer_headers(headers: httpx.Headers) -> dict[str, str]:
    """As far as they are reasonable: at most 100, each at most 4 KiB."""
    shown = {name: value[:LONGEST_HEADER].replace("\x00", "\ufffd") for name, value in headers.items()}
    return dict(list(shown.items())[:MOST_HEADERS])


def _final(code: str, message: str) -> ToolError:
    return ToolError(message, code=code, retryable=False)


def _tls(error: Exception) -> ToolError:
    return _final("tls", f"The server's certificate or TLS is not acceptable: {error}.")


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
