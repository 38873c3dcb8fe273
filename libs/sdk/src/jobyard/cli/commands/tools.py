"""`jobyard tools …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jobyard.cli import listing, session
from jobyard.cli.options import Json
from jobyard.cli.output import Output, clean, one_line

app = typer.Typer(help="See what can be run, begin a tool of your own.", no_args_is_help=True)


@app.command("list")
def list_tools(json: Json = False) -> None:
    """The tools that jobs can run."""
    page = listing.fetch("/v1/tools", {}, limit=None, every=True, cursor=None)
    columns = ("name", "version", "title", "isolation", "queue", "workers")
    listing.show(page, Output(json=json), columns, lambda row: tuple(row.get(column) for column in columns))


@app.command()
def show(tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")], json: Json = False) -> None:
    """A tool: what it does, its parameters and file slots."""
    output = Output(json=json)
    with session.connect() as client:
        document = client.tools.get(tool).document
    if json:
        output.document(document)
        return
    output.print(
        f"{one_line(document.get('name'))} {one_line(document.get('version'))}: {one_line(document.get('title'))}"
    )
    if document.get("description"):
        output.print(clean(document["description"]).strip())
    output.facts([(name, document.get(name)) for name in ("queue", "isolation", "timeout_s", "workers")])
    for name in ("slots", "files", "file_slots"):
        if document.get(name):
            output.facts([("file slots", ", ".join(_names(document[name])))])
            break
    _parameters(document.get("parameters_schema"), output)
    if document.get("examples"):
        output.print("examples")
        output.pretty(document["examples"])


def _parameters(schema: object, output: Output) -> None:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not properties:
        output.print("no parameters")
        return
    required = schema.get("required") if isinstance(schema, dict) else None
    output.print("parameters")
    for name, each in properties.items():
        output.print(f"  -p {one_line(name)}=  {one_line(_described(each, name in (required or [])))}")


def _described(schema: Any, required: bool) -> str:
    if not isinstance(schema, dict):
        return ""
    parts = [str(schema["type"])] if "type" in schema else []
    parts += [f"one of {schema['enum']}"] if "enum" in schema else []
    parts += [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    parts += ["required"] if required else [f"default {schema['default']!r}"] if "default" in schema else []
    parts += [str(schema["description"])] if schema.get("description") else []
    return ", ".join(parts)


def _names(slots: Any) -> list[str]:
    if isinstance(slots, dict):
        return [one_line(name) for name in slots]
    return [one_line(slot.get("name") if isinstance(slot, dict) else slot) for slot in slots]


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case words joined by dots, such as text.count.")],
    lang: Annotated[str, typer.Option("--lang", help="python or sh.")] = "python",
    folder: Annotated[Path | None, typer.Option("--dir", help="Where to put it; default: ./NAME.")] = None,
    json: Json = False,
) -> None:
    """Write a tool that runs, to change into your own."""
    from jobyard.cli.new_tool import create

    output = Output(json=json)
    target = folder if folder is not None else Path(name)
    files = create(name, lang=lang, folder=target)
    if json:
        output.document({"name": name, "folder": str(target), "files": files})
        return
    output.print(clean(target))
    output.say(f"wrote {', '.join(files)}; {files[-1]} says how to try it")
