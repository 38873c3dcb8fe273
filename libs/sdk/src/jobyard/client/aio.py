"""The asyncio driver; the same as `sync.py`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import httpx

from jobyard.client import effects
from jobyard.client.config import Server
from jobyard.client.effects import Effect, Flow
from jobyard.client.transport import Done, Opened, Stepper, answer_of, arguments, client_options, unreachable

T = TypeVar("T")


class AsyncDriver:
    def __init__(self, server: Server, *, timeout_s: float) -> None:
        self._server = server
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(**client_options(server, timeout_s=timeout_s))

    async def aclose(self) -> None:
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """The flow's answer; what it emits is dropped."""
        done: Done[T] | None = None
        async for step in self._steps(flow):
            if isinstance(step, Done):
                done = step
        assert done is not None
        return done.value

    async def iterate(self, flow: Flow[Any]) -> AsyncGenerator[Any, None]:
        """What the flow emits, as it comes."""
        steps = self._steps(flow)
        try:
            async for step in steps:
                if not isinstance(step, Done):
                    yield step
        finally:
            await steps.aclose()

    async def _steps(self, flow: Flow[T]) -> AsyncGenerator[Any, None]:
        stepper, opened = Stepper(flow), list[Opened]()
        try:
            while not isinstance(effect := stepper.next(), Done):
                if isinstance(effect, effects.Emit):
                    yield effect.value
                    continue
                try:
                    stepper.succeeded(await self._perform(effect, opened))
                except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
                    stepper.failed(unreachable(error, self._server))
                except Exception as error:  # belongs to the flow, which decides
                    stepper.failed(error)
            yield effect
        finally:
            stepper.close()
            for each in opened:
                await each.response.aclose()

    async def _perform(self, effect: Effect, opened: list[Opened]) -> object:
        match effect:
            case effects.Send(request):
                return answer_of(await self._http.send(self._request(request)))
            case effects.Open(request):
                response = await self._http.send(self._request(request), stream=True)
                opened.append(Opened(response, response.aiter_bytes()))
                return opened[-1].stream()
            case effects.Read(stream):
                return await anext(Opened.of(stream).body, b"")
            case effects.Close(stream):
                await Opened.of(stream).response.aclose()
                opened.remove(Opened.of(stream))
            case effects.Sleep(seconds):
                await asyncio.sleep(seconds)
            case effects.Work(run):
                return await asyncio.to_thread(run)
            case effects.Emit():
                raise AssertionError("an emitted value is the iterator's business")
        return None

    def _request(self, request: effects.Request) -> httpx.Request:
        return self._http.build_request(**arguments(request, timeout_s=self._timeout_s))
