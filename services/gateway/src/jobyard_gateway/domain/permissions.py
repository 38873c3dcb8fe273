"""Who may do what. A route names its permission; a key's scopes and its role decide together."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Permission(StrEnum):
    """What a route asks for. `public` has to be written, like any other."""

    PUBLIC = "public"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    FILES_READ = "files:read"
    FILES_WRITE = "files:write"
    TOOLS_READ = "tools:read"
    QUEUES_READ = "queues:read"
    SYSTEM_READ = "system:read"
    AUDIT_READ = "audit:read"
    OPERATIONS_ADMIN = "operations:admin"
    KEYS_ADMIN = "keys:admin"
    TENANTS_ADMIN = "tenants:admin"


class Role(StrEnum):
    """Of a key within its tenant; `operator` also acts for the whole installation."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    OPERATOR = "operator"


_VIEWER = frozenset(
    {
        Permission.JOBS_READ,
        Permission.FILES_READ,
        Permission.TOOLS_READ,
        Permission.QUEUES_READ,
        Permission.SYSTEM_READ,
    }
)
_MEMBER = _VIEWER | {Permission.JOBS_WRITE, Permission.FILES_WRITE}
_ADMIN = _MEMBER | {Permission.KEYS_ADMIN, Permission.AUDIT_READ}
GRANTS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.MEMBER: _MEMBER,
    Role.ADMIN: _ADMIN,
    Role.OPERATOR: _ADMIN | {Permission.TENANTS_ADMIN, Permission.OPERATIONS_ADMIN},
}


class Principal(msgspec.Struct, frozen=True):
    """Who asks: a key of a tenant with what it may do."""

    tenant: str
    key_id: str
    role: Role
    permissions: frozenset[Permission]

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}"


def effective(role: Role, scopes: list[str]) -> frozenset[Permission]:
    """The role's permissions, narrowed by the key's scopes; no scopes means all of the role's."""
    granted = GRANTS[role]
    return granted & frozenset(map(Permission, scopes)) if scopes else granted
