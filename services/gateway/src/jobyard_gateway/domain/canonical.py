"""One hash for all texts of the same submit (RFC 8785), so that a repeated key can be told from a reused one."""

from __future__ import annotations

import hashlib

import rfc8785

_EXACT = 2**53 - 1


def body_hash(tree: dict[str, object]) -> str:
    """Hex SHA-256 of the canonical form of a submit as it was sent, before defaults are filled in."""
    try:
        text = rfc8785.dumps(tree)  # type: ignore[arg-type]
    except rfc8785.IntegerDomainError:
        text = rfc8785.dumps(_with_large_integers(tree))  # type: ignore[arg-type]
    return hashlib.sha256(text).hexdigest()


def input_hash(tool: str, version: str, parameters: object, files: dict[str, str]) -> str:
    """Hex SHA-256 of what the result of a job depends on: `files` are the hashes of their contents by slot."""
    return body_hash({"tool": tool, "version": version, "parameters": parameters, "files": files})


def _with_large_integers(tree: object) -> object:
    # RFC 8785 has no form for integers beyond a double; ours is an object whose key no submit can hold.
    if isinstance(tree, dict):
        return {name: _with_large_integers(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_with_large_integers(value) for value in tree]
    if isinstance(tree, int) and not isinstance(tree, bool) and abs(tree) > _EXACT:
        return {"\0integer": format(tree, "x")}
    return tree
