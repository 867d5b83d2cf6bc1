"""Calls to contracts: which contract is meant depends on what the connection has opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from liverpc.declare.context import Context
from liverpc.declare.registry import AnyContract
from liverpc.declare.replies import Follower, Slot
from liverpc.dispatch.pipeline import Admit, Pipeline, Runner
from liverpc.dispatch.unanswered import nothing_there
from liverpc.errors import LiveError
from liverpc.hub.connection import Connection
from liverpc.rooms.catalogue import Route, parts_of
from liverpc.rooms.contracts import Contracts
from liverpc.rooms.membership import Served
from liverpc.wire.codec import encode, reply
from liverpc.wire.frames import CallFrame

__all__ = ["ContractCalls"]


class ContractCalls:
    """Enters the paths of the contracts into the pipeline.

    Args:
        contracts: Of the server.
        pipeline: What their calls go through, openings included.
    """

    def __init__(self, contracts: Contracts, pipeline: Pipeline) -> None:
        self._contracts = contracts
        self._pipeline = pipeline
        for path, entries in contracts.entries.items():
            name, _, rest = path.partition("/")
            bind = self._binding(name)
            runners = {contract: pipeline.runner(entry, bind) for contract, entry in entries.items()}
            make = {"__open": self._opening, "__close": self._closing}.get(rest, self._calling)
            pipeline.runners[path] = make(name, runners)
            pipeline.called[path] = next(iter(entries.values()))

    def connected(self, connection: Connection, route: Route) -> None:
        """Open all contracts of the URL; it is as if the client called, and wanted no answer."""
        for contract in route.contracts:
            assert contract.pattern is not None
            args = Raw(encode([route.parts, contract.pattern.text]))
            path = f"{contract.name}/__open"
            self._pipeline.runners[path](connection, CallFrame(rpc=path, args=args), None)

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._contracts.closed(connection)

    def _binding(self, name: str) -> Admit:
        contracts = self._contracts

        def bind(ctx: Context[Any], frame: CallFrame) -> None:
            contracts.bind(ctx, name)

        return bind

    def _calling(self, name: str, runners: dict[AnyContract, Runner]) -> Runner:
        contracts, pipeline = self._contracts, self._pipeline

        def run(connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
            served = contracts.of(connection, name)
            runner = None if served is None else runners.get(served.declared)
            if runner is not None:
                runner(connection, frame, slot)
            else:
                pipeline.refuse(connection, frame, nothing_there(frame), slot)

        return run

    def _closing(self, name: str, runners: dict[AnyContract, Runner]) -> Runner:
        contracts, calling = self._contracts, self._calling(name, runners)

        def run(connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
            served = contracts.of(connection, name)
            if served is not None:
                contracts.closing(served)
                slot = _Told(contracts.decided, served, slot)
            calling(connection, frame, slot)

        return run

    def _opening(self, name: str, runners: dict[AnyContract, Runner]) -> Runner:
        contracts, pipeline = self._contracts, self._pipeline

        def run(connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
            try:
                parts, pattern = parts_of(frame.args)
                contract = contracts.catalogue.pick(name, pattern)
                if contract is None:
                    raise nothing_there(frame)
                served = contracts.begin(connection, contract, parts)
            except LiveError as error:
                pipeline.refuse(connection, frame, error, slot)
            else:
                runners[contract](connection, frame, _Told(contracts.settled, served, slot))

        return run


class _Told:
    """Tells that an opening or closing was answered (``declare.replies.Slot``)."""

    __slots__ = ("_served", "_slot", "_tell")

    def __init__(self, tell: Callable[[Served], None], served: Served, slot: Slot | None) -> None:
        self._tell = tell
        self._served = served
        self._slot = slot

    def put(self, call: str | None, members: bytes, follower: Follower | None) -> None:
        self._tell(self._served)
        if self._slot is not None:
            self._slot.put(call, members, follower)
        elif call is not None:
            self._served.connection.send(reply(call, members))
