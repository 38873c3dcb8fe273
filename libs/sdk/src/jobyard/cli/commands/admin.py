"""`jobyard keys …` and `jobyard tenants …`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobyard.cli import arguments, listing, session
from jobyard.cli.options import Json
from jobyard.cli.output import Output, one_line

keys = typer.Typer(help="API keys.", no_args_is_help=True)
tenants = typer.Typer(help="Tenants.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    tenant: Annotated[str | None, typer.Option("--tenant", help="The tenant's id; your own if not given.")] = None,
    json: Json = False,
) -> None:
    """Make an API key. It is shown this once."""
    output, body = Output(json=json), {"name": arguments.text(name, what="NAME")}
    if tenant is not None:
        body["tenant_id"] = arguments.text(tenant, what="--tenant")
    with session.connect() as client:
        document = client.request("POST", "/v1/api-keys", body=body, safe=False)
    if json:
        output.document(document)
        return
    output.print(one_line(document.get("key"), width=1000))
    output.say("keep it: it is not shown again")


@keys.command("list")
def list_keys(json: Json = False) -> None:
    """The keys, without their secrets."""
    page = listing.fetch("/v1/api-keys", {}, limit=None, every=True, cursor=None)
    columns = ("id", "name", "tenant_id", "created_at", "last_used_at")
    listing.show(page, Output(json=json), columns, lambda row: tuple(row.get(column) for column in columns))


@tenants.command("create")
def create_tenant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name.")], json: Json = False
) -> None:
    """Make a tenant."""
    output = Output(json=json)
    with session.connect() as client:
        body = {"name": arguments.text(name, what="NAME")}
        document = client.request("POST", "/v1/tenants", body=body, safe=False)
    if json:
        output.document(document)
        return
    output.print(one_line(document.get("id")))


@tenants.command("list")
def list_tenants(json: Json = False) -> None:
    """The tenants."""
    page = listing.fetch("/v1/tenants", {}, limit=None, every=True, cursor=None)
    columns = ("id", "name", "created_at")
    listing.show(page, Output(json=json), columns, lambda row: tuple(row.get(column) for column in columns))
