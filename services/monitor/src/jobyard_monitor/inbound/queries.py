"""Reading query parameters: every wrong one is named at once, unknown ones are refused."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from jobyard_common.contracts.wire import parse_rfc3339
from jobyard_common.http.problems import FieldError, Problem
from starlette.requests import Request

from jobyard_monitor.domain.moments import askable

MAX_TEXT = 256


class Query:
    """Take each parameter once, then `finish`."""

    def __init__(self, request: Request) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            self._values.setdefault(name, []).append(value)
        self._errors: list[FieldError] = []

    def finish(self) -> None:
        """Raises Problem with everything that was wrong."""
        for name in self._values:
            self.wrong(name[:64], "there is no such parameter")
        if self._errors:
            raise Problem("validation_failed", errors=self._errors)

    def wrong(self, name: str, message: str) -> None:
        self._errors.append(FieldError(name, message))

    def text(self, name: str, *, most: int = MAX_TEXT) -> str | None:
        values = self._values.pop(name, [])
        if not values:
            return None
        if len(values) > 1:
            self.wrong(name, "may be given once")
            return None
        return self._checked(name, values[0], most=most)

    def texts(self, name: str, *, among: Iterable[str] | None = None, most: int = 20) -> list[str] | None:
        """A repeatable parameter."""
        values = self._values.pop(name, [])
        if len(values) > most:
            self.wrong(name, f"may be given {most} times at most")
            return None
        known = None if among is None else list(among)
        for value in values:
            if known is not None and value not in known:
                self.wrong(name, f"must be one of {', '.join(known)}")
                return None
            if self._checked(name, value, most=MAX_TEXT) is None:
                return None
        return values or None

    def choice(self, name: str, among: Iterable[str]) -> str | None:
        value, known = self.text(name), list(among)
        if value is not None and value not in known:
            self.wrong(name, f"must be one of {', '.join(known)}")
            return None
        return value

    def integer(self, name: str, *, default: int, least: int, most: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= 19 and least <= int(value) <= most):
            self.wrong(name, f"must be a whole number from {least} to {most}")
            return default
        return int(value)

    def moment(self, name: str) -> datetime | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            found = parse_rfc3339(value.replace(" ", "+") if value[-6:-5] == " " else value)
        except (ValueError, OverflowError):
            self.wrong(name, "must be an RFC 3339 time with a zone")
            return None
        if not askable(found):
            self.wrong(name, "must be a time from 1970 to 9000")
            return None
        return found

    def span(self, *, now: datetime, default: timedelta, longest: timedelta) -> tuple[datetime, datetime]:
        """`since` (inclusive) and `until` (exclusive); without them, the last `default`."""
        since, until = self.moment("since"), self.moment("until")
        end = until or now + timedelta(minutes=1)
        begin = since or end - default
        if begin > end:
            self.wrong("since", "must not be after until")
        elif end - begin > longest + timedelta(minutes=1):
            self.wrong("since", f"the span of time may be {longest / timedelta(days=1):g} days at most")
        return begin, end

    def _checked(self, name: str, value: str, *, most: int) -> str | None:
        if not value or len(value) > most or any(ord(character) < 32 for character in value):
            self.wrong(name, f"must be 1 to {most} characters without control characters")
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.wrong(name, "must be Unicode text")
            return None
        return value
