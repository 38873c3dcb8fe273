"""A gateway whose database is away listens, says so, and is there as soon as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from jobyard_common.telemetry.shipping import LogBuffer
from jobyard_gateway.inbound.http.door import Door
from jobyard_gateway.main import assemble


def test_the_door_is_open_before_the_database_is_there(yard: Any) -> None:
    async def story() -> None:
        settings = yard.settings("http://127.0.0.1:1")
        door = Door(host="127.0.0.1", port=0, instance="gateway-test")
        await door.start()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{door.port}") as http:
            assert (await http.get("/livez")).status_code == 200
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["database"]["status"]) == (503, "down")
            assert (await http.get("/startupz")).status_code == 503
            submit = await http.post("/v1/jobs", json={"tool": "echo"})
            assert (submit.status_code, submit.json()["code"]) == (503, "unavailable")
            assert submit.headers["Retry-After"] and submit.headers["X-Request-Id"]
            gateway = await assemble(settings, logs=LogBuffer(), door=door)
            assert gateway.http is door
            assert (await http.get("/v1/jobs")).status_code == 503, "nothing has started yet"
            for component in gateway.components:
                await component.start()
            assert (await http.get("/v1/jobs")).status_code == 401, "on the same connection"
            for step in ("drain", "stop"):
                for component in reversed(gateway.components):
                    await getattr(component, step)()
            await gateway.close()

    asyncio.run(story())
