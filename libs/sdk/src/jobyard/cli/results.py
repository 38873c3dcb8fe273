"""Showing and fetching what a job left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobyard.cli.codes import UsageError
from jobyard.cli.output import Output, one_line
from jobyard.cli.session import download

if TYPE_CHECKING:
    from jobyard.client import Client


def result_document(client: Client, job_id: str) -> dict[str, Any]:
    """The result as the API has it."""
    from jobyard.client.requests import segment

    return client.request("GET", f"/v1/jobs/{segment(job_id, what='a job id')}/result")


def show_value(result: dict[str, Any], output: Output) -> None:
    """The value on stdout, the names of the files on stderr."""
    if result.get("value") is not None:
        output.pretty(result["value"])
    for row in result.get("files") or []:
        output.say(
            f"  file {one_line(row.get('file_id'))}  {one_line(row.get('name'))}  {row.get('size') or 0:,} bytes"
        )


def fetch_files(client: Client, result: dict[str, Any], folder: Path, output: Output) -> None:
    """Every output file under a safe name in `folder`; equal names get a number."""
    from jobyard.client.downloading import safe_name

    folder = ready_folder(folder)
    taken = set[str]()
    for row in result.get("files") or []:
        file_id = str(row.get("file_id"))
        name = safe_name(str(row.get("name")), fallback=file_id)
        number, stem = 2, Path(name)
        while name in taken:
            name, number = f"{stem.stem} ({number}){stem.suffix}", number + 1
        taken.add(name)
        download(client, file_id, folder / name, output)


def ready_folder(folder: Path) -> Path:
    """The folder, made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"--download {str(folder)!r}: no folder can be made there ({error})") from None
    return folder
