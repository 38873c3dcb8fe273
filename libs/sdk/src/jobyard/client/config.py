"""Where the server is and which key to show it.

In this order: `JOBYARD_URL` and `JOBYARD_API_KEY`; the stack file of `JOBYARD_HOME`, else the nearest
`.jobyard/stack.json` at or above the working folder; `~/.config/jobyard/config.toml`. A key found in a file is only
ever sent to the address in the same file.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobyard.errors import ConfigurationError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Server:
    """A server to talk to; `source` says where it was found."""

    url: str
    api_key: str | None
    source: str
    console_url: str | None = None

    def __repr__(self) -> str:
        return f"Server(url={self.url!r}, source={self.source!r})"

    @property
    def loopback(self) -> bool:
        return urlsplit(self.url).hostname in _LOOPBACK


def config_path(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if base.startswith("/") else _home(env) / ".config"
    return folder / "jobyard" / "config.toml"


def state_path(env: Mapping[str, str]) -> Path:
    """The folder for what survives a process, such as half-done uploads."""
    base = env.get("XDG_STATE_HOME") or ""
    folder = Path(base) if base.startswith("/") else _home(env) / ".local" / "state"
    return folder / "jobyard"


def find(*, env: Mapping[str, str], cwd: Path) -> Server:
    """The server that the settings name. Raises ConfigurationError."""
    url, key = env.get("JOBYARD_URL") or None, env.get("JOBYARD_API_KEY") or None
    if url and key:
        return checked(Server(url, key, "JOBYARD_URL"))
    if url:
        wanted = checked(Server(url, None, "JOBYARD_URL"))
        for known in _known(env=env, cwd=cwd, strict=False):
            if known.url == wanted.url:
                return Server(wanted.url, known.api_key, f"JOBYARD_URL, key from {known.source}", known.console_url)
        return wanted
    for known in _known(env=env, cwd=cwd, strict=True):
        return checked(Server(known.url, key or known.api_key, known.source, known.console_url))
    raise ConfigurationError(
        "no server is known: start one by `make run` in the project, or set JOBYARD_URL and JOBYARD_API_KEY,"
        " or use `jobyard login URL`"
    )


def checked(server: Server) -> Server:
    """The same with its address in one form. Raises ConfigurationError."""
    try:
        parts = urlsplit(server.url.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    text = server.url.strip()
    if not good or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(f"{server.source}: {_shown(server.url)} is not an http or https address")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError(f"{server.source}: the address may hold no user name, query or fragment")
    key = server.api_key
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key and len(key) <= 4096):
        raise ConfigurationError(f"{server.source}: the API key holds characters that no key has")
    return Server(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", key, server.source, server.console_url)


def write(path: Path, *, url: str, api_key: str) -> None:
    """Store a server for this user, readable by nobody else, in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"url = {json.dumps(url)}\napi_key = {json.dumps(api_key)}\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _known(*, env: Mapping[str, str], cwd: Path, strict: bool) -> Iterator[Server]:
    """Servers written down in files; a broken file is passed over unless `strict`."""
    for read, path in ((_stack, _stack_file(env=env, cwd=cwd)), (_config, config_path(env))):
        try:
            found = read(path) if path is not None else None
            if found is not None:
                yield checked(found)
        except ConfigurationError:
            if strict:
                raise


def _stack_file(*, env: Mapping[str, str], cwd: Path) -> Path | None:
    homes = [Path(env["JOBYARD_HOME"])] if env.get("JOBYARD_HOME") else []
    for home in [*homes, *(folder / ".jobyard" for folder in (cwd, *cwd.parents))]:
        path = home / "stack.json"
        try:
            if path.is_file() and _trusted(path):
                return path
        except OSError:
            continue
    return None


def _trusted(path: Path) -> bool:
    """A stack file of another user would send this user's files to that user's server."""
    me = os.geteuid()
    return me == 0 or path.stat().st_uid in (me, 0)


def _stack(path: Path) -> Server:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{path} is not a stack file; remove it, or start the stack again") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a stack file; remove it, or start the stack again")
    return Server(
        _text(document, "gateway_url", path=path),
        _text(document, "api_key", path=path),
        str(path),
        document.get("console_url") if isinstance(document.get("console_url"), str) else None,
    )


def _config(path: Path) -> Server | None:
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None
    return Server(_text(document, "url", path=path), _text(document, "api_key", path=path), str(path))


def _text(document: Mapping[str, Any], name: str, *, path: Path) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{path}: `{name}` is missing or not text")
    return value


def _home(env: Mapping[str, str]) -> Path:
    home = env.get("HOME") or ""
    return Path(home) if home.startswith("/") else Path.home()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}…")
