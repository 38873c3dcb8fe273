"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScheduleId = Annotated[str | None, typer.Option("--schedule", metavar="SCHEDULE", help="Jobs that this schedule made.")]
RunId = Annotated[str | None, typer.Option("--run", metavar="RUN", help="Jobs of this workflow run.")]
ParentId = Annotated[str | None, typer.Option("--parent", metavar="JOB", help="Children of this job.")]
CreatedAfter = Annotated[str | None, typer.Option("--created-after", help="RFC 3339 with zone.")]
CreatedBefore = Annotated[str | None, typer.Option("--created-before", help="RFC 3339 with zone.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, job_….")]
FileId = Annotated[str, typer.Argument(metavar="FILE", help="The id of a file, file_….")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many rows at most.")]
Every = Annotated[bool, typer.Option("--all", help="Every row, over all pages.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="Go on where a page ended (its next_cursor).")]
Download = Annotated[
    Path | None, typer.Option("--download", metavar="DIR", help="Put the job's output files into this folder.")
]
Parameters = Annotated[
    list[str], typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="JSON if it parses, else text.")
]
