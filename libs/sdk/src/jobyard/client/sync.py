"""The blocking driver."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import httpx

from jobyard.client import effects
from jobyard.client.config import Server
from jobyard.client.effects import Effect, Flow
from jobyard.client.transport import Done, Opened, Stepper, answer_of, arguments, client_options, unreachable

T = TypeVar("T")


class SyncDriver:
    def __init__(self, server: Server, *, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._http = httpx.Client(**client_options(server, timeout_s=timeout_s))

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """The flow's answer; what it emits is dropped."""
        steps = self._steps(flow)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                answer: T = end.value
                return answer

    def iterate(self, flow: Flow[Any]) -> Iterator[Any]:
        """What the flow emits, as it comes."""
        yield from self._steps(flow)

    def _steps(self, flow: Flow[T]) -> Generator[Any, None, T]:
        stepper, opened = Stepper(flow), list[Opened]()
        try:
            while not isinstance(effect := stepper.next(), Done):
                if isinstance(effect, effects.Emit):
                    yield effect.value
                    continue
                try:
                    stepper.succeeded(self._perform(effect, opened))
                except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
                    stepper.failed(unreachable(error, self._server))
                except Exception as error:  # belongs to the flow, which decides
                    stepper.failed(error)
            return effect.value
        finally:
            stepper.close()
            for each in opened:
                each.response.close()

    def _perform(self, effect: Effect, opened: list[Opened]) -> object:
        match effect:
            case effects.Send(request):
                return answer_of(self._http.send(self._request(request)))
            case effects.Open(request):
                response = self._http.send(self._request(request), stream=True)
                opened.append(Opened(response, response.iter_bytes()))
                return opened[-1].stream()
            case effects.Read(stream):
                return next(Opened.of(stream).body, b"")
            case effects.Close(stream):
                Opened.of(stream).response.close()
                opened.remove(Opened.of(stream))
            case effects.Sleep(seconds):
                time.sleep(seconds)
            case effects.Work(run):
                return run()
            case effects.Emit():
                raise AssertionError("an emitted value is the iterator's business")
        return None

    def _request(self, request: effects.Request) -> httpx.Request:
        return self._http.build_request(**arguments(request, timeout_s=self._timeout_s))
