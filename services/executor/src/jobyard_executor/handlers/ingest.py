"""Commands as they come from Kafka: submits of a batch together, orders in the order of their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jobyard_common.contracts import jobs as contract
from jobyard_common.contracts import workflows as flow
from jobyard_common.contracts.ids import is_id
from jobyard_common.contracts.wire import WireError, decode
from jobyard_common.db.connection import Connection
from jobyard_common.messaging.inbound import Inbound, Refused
from jobyard_common.runtime.breath import in_breaths

from jobyard_executor.domain.newborn import Newborn
from jobyard_executor.handlers.context import Engine
from jobyard_executor.handlers.orders import Order, OrderCommand, apply_orders
from jobyard_executor.handlers.start_runs import RunCommand, RunOrder, apply_run_orders
from jobyard_executor.handlers.submit import Submitted, submit_jobs

_ORDERS: dict[str, type[OrderCommand]] = {
    contract.CANCEL: contract.CancelJob,
    contract.RETRY: contract.RetryJob,
    contract.REPLAY: contract.ReplayJob,
    contract.RESCHEDULE: contract.RescheduleJob,
}
_RUN_ORDERS: dict[str, type[RunCommand]] = {
    flow.START_RUN: flow.StartRun,
    flow.CANCEL_RUN: flow.CancelRun,
    flow.RETRY_RUN: flow.RetryRun,
}


class Ingest:
    """`apply` of the consumer loop. `stops` gathers what must stop running; it is read after the commit."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stops: list[tuple[str, int]] = []
        self._runs: list[RunOrder] = []
        self._born: list[Newborn] = []

    async def apply(self, connection: Connection, batch: list[Inbound]) -> Sequence[Refused]:
        self._stops, self._runs, self._born = [], [], []
        submits: list[Submitted] = []
        orders: list[Order] = []
        refused: list[Refused] = []
        async for some in in_breaths(batch):
            for record in some:
                try:
                    self._sort(record, submits, orders)
                except (WireError, _Unusable) as error:
                    refused.append(Refused(record, "malformed_command", str(error)))
        refused += await submit_jobs(self._engine, connection, submits, born=self._born)
        for run in _runs(orders):
            self._stops += await apply_orders(self._engine, connection, run)
        if self._runs:
            refused += await apply_run_orders(self._engine, connection, self._runs)
        return refused

    def after_commit(self) -> None:
        self._engine.newborns.add(self._born)
        stops, self._stops, self._born = self._stops, [], []
        for job_id, fence in stops:
            self._engine.stop_running(job_id, fence)
        self._engine.wake_claim()
        self._engine.wake_relay()
        if self._runs:
            self._engine.wake_runs()

    def _sort(self, record: Inbound, submits: list[Submitted], orders: list[Order]) -> None:
        """Raises WireError or _Unusable."""
        headers = dict(record.headers)
        kind = (headers.get("ce_type") or b"").decode(errors="replace")
        if record.value is None:
            raise _Unusable("the record has no value")
        trace = (record.context() or self._engine.tracer.root()).format()
        if kind == contract.SUBMIT:
            command = decode(contract.SubmitJob, record.value)
            _check_ids(command.job_id)
            correlation = (headers.get("ce_correlationid") or b"").decode(errors="replace") or command.job_id
            submits.append(Submitted(command, correlation, trace, record))
            return
        if kind in _RUN_ORDERS:
            self._sort_run(record, _RUN_ORDERS[kind], headers, trace)
            return
        if kind not in _ORDERS:
            raise _Unusable(f"no command is called {kind[:100]!r}")
        order = decode(_ORDERS[kind], record.value)
        _check_ids(order.job_id, *(() if not hasattr(order, "new_job_id") else (order.new_job_id,)))
        orders.append(Order(order, trace, record))

    def _sort_run(self, record: Inbound, shape: type[RunCommand], headers: dict[str, bytes | None], trace: str) -> None:
        assert record.value is not None
        command = decode(shape, record.value)
        for run_id in (command.run_id, getattr(command, "new_run_id", command.run_id)):
            if not is_id("wfr", run_id):
                raise _Unusable(f"{run_id[:64]!r} is no id of a run")
        correlation = (headers.get("ce_correlationid") or b"").decode(errors="replace") or command.run_id
        self._runs.append(RunOrder(command, correlation, trace, record))


class _Unusable(ValueError):
    """The record is no command of ours; the text says why."""


def _check_ids(*job_ids: str) -> None:
    for job_id in job_ids:
        if not is_id("job", job_id):
            raise _Unusable(f"{job_id[:64]!r} is no job id")


def _runs(orders: Sequence[Order]) -> Iterator[list[Order]]:
    """Split where a job comes again, so that one run can be applied as a batch."""
    run: list[Order] = []
    jobs: set[str] = set()
    for order in orders:
        touched = {order.command.job_id, getattr(order.command, "new_job_id", order.command.job_id)}
        if jobs & touched:
            yield run
            run, jobs = [], set()
        run.append(order)
        jobs |= touched
    if run:
        yield run
