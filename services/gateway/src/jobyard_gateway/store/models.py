"""The administrative tables as models; hot paths use the named queries beside them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, DateTime, LargeBinary, SmallInteger, String
from sqlmodel import Field, SQLModel


class TenantRow(SQLModel, table=True):
    __tablename__ = "tenant"

    id: str = Field(primary_key=True)
    name: str
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    disabled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class ApiKeyRow(SQLModel, table=True):
    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    role: str
    scopes: list[str] = Field(sa_type=ARRAY(String))
    hash: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(sa_type=DateTime(timezone=True))
    created_by: str
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    revoked_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class OutboxRow(SQLModel, table=True):
    """Common's outbox, so that an administrative change and its audit entry are one transaction."""

    __tablename__ = "outbox"

    id: int | None = Field(default=None, primary_key=True)
    bucket: int = Field(sa_type=SmallInteger)
    topic: str
    key: bytes | None = Field(default=None, sa_type=LargeBinary)
    value: bytes | None = Field(default=None, sa_type=LargeBinary)
    headers: bytes = Field(sa_type=LargeBinary)
