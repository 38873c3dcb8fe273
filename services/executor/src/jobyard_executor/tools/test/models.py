"""Parameters of the test pack."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text200 = Annotated[str, Field(max_length=200)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Echo(Strict):
    value: Any = None


class Sleep(Strict):
    seconds: float = Field(default=1, ge=0, le=86_400)
    steps: int = Field(default=0, ge=0, le=1000)
    on_soft_limit: Literal["raise", "finish", "ignore"] = "raise"
    marker: Text200 = ""


class SleepInProcess(Sleep):
    ignore_sigterm: bool = False


class Fail(Strict):
    message: str = "failed on purpose"
    code: str = "test_failure"
    retryable: bool = True


class Children(Strict):
    count: int = Field(default=1, ge=0, le=2000)
    tool: Text200 = "test.echo"
    failures: int = Field(default=0, ge=0, le=100)


class Flaky(Strict):
    failures: int = Field(default=1, ge=0, le=100)


class Print(Strict):
    lines: int = Field(default=10, ge=0, le=10_000_000)
    stream: Literal["stdout", "stderr", "both"] = "stdout"
    width: int = Field(default=0, ge=0, le=1_000_000)
    interval_s: float = Field(default=0, ge=0, le=86_400)
    newline: bool = True
    rubbish: bool = False


class Log(Strict):
    lines: int = Field(default=10, ge=0, le=100_000)


class Count(Strict):
    path: str = Field(pattern="^/")
    n: int = 0
    seconds: float = Field(default=0, ge=0, le=3600)


class Tree(Strict):
    marker: str = Field(min_length=8, max_length=200)
    children: int = Field(default=3, ge=0, le=50)
    seconds: float = Field(default=60, ge=0, le=86_400)
    setsid: bool = False
    double_fork: bool = False
    ignore_sigterm: bool = False
    hold_pipes: bool = False


class Cpu(Strict):
    seconds: float = Field(default=1, ge=0, le=3600)


class Alloc(Strict):
    mebibytes: int = Field(default=64, ge=1, le=1_000_000)
    hold_s: float = Field(default=0, ge=0, le=86_400)


class Files(Strict):
    count: int = Field(default=1, ge=0, le=1_000_000)
    bytes: int = Field(default=1000, ge=0, le=1_000_000_000)
    seed: int = 0


class Digest(Strict):
    copy_as: str | None = None
