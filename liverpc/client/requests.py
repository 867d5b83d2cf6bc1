"""What a client asks of its server, from the question to the answer, on an event loop."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from liverpc._types import Upload
from liverpc.client.calls import Call
from liverpc.client.core import ClientCore
from liverpc.client.opened import OpenContract
from liverpc.client.options import CallOptions
from liverpc.client.sources import Data, Source
from liverpc.client.subscription import Subscription
from liverpc.client.uploading import UploadHandle, UploadTasks
from liverpc.errors import RpcError

__all__ = ["Requests"]


class Requests(ABC):
    """The part of a :class:`~liverpc.client.connection.Connection` that is used once there is one.

    Args:
        core: The client without I/O.
    """

    def __init__(self, core: ClientCore) -> None:
        self._loop = asyncio.get_running_loop()
        self.core = core
        self.uploads = UploadTasks(core, self._settle)

    @abstractmethod
    def check_open(self) -> None:
        """RuntimeError when it was never opened."""

    @abstractmethod
    def _settle(self) -> None:
        """Follow up on a change of the core."""

    async def call(self, path: str, args: list[Any], result_type: Any, options: CallOptions) -> Any:
        """One call, from start to result; forgotten when cancelled."""
        return await self._call(
            lambda on_done: self.core.call(
                path,
                args,
                timeout=options.timeout,
                idempotency_key=options.idempotency_key,
                shared=options.shared,
                on_done=on_done,
            ),
            result_type,
        )

    async def binary(self, path: str, args: list[Any], data: Data, result_type: Any, options: CallOptions) -> Any:
        """The same for a call with bytes."""
        return await self._call(
            lambda on_done: self.core.binary(path, args, data, timeout=options.timeout, on_done=on_done), result_type
        )

    def upload(
        self, fn: Upload[..., Any], args: list[Any], source: Source, options: CallOptions, *, in_thread: bool = False
    ) -> UploadHandle[Any]:
        self.check_open()
        return UploadHandle(
            self.uploads, fn.path, args, source, fn.result_type, timeout=options.timeout, in_thread=in_thread
        )

    async def _call(
        self,
        start: Callable[[Callable[[Call], object]], Call],
        result_type: Any,
        contract: OpenContract | None = None,
    ) -> Any:
        self.check_open()
        answered: asyncio.Future[None] = self._loop.create_future()

        def on_done(_: Call) -> None:
            if not answered.done():
                answered.set_result(None)

        call = start(on_done)
        if contract is not None:
            contract.calls.add(call)
        self._settle()
        try:
            await answered
        finally:
            if contract is not None:
                contract.calls.discard(call)
            if not call.done:
                self.core.cancel(call)
                self._settle()
        return call.result(result_type)

    async def batch(
        self,
        requests: list[tuple[str, list[Any]]],
        *,
        sequential: bool,
        timeout: float | None,  # noqa: ASYNC109 - the core keeps the deadline
    ) -> list[Call]:
        """Several calls in one frame, from start to the last answer; forgotten when cancelled."""
        self.check_open()
        answered = asyncio.Event()
        calls = self.core.batch(requests, sequential=sequential, timeout=timeout, on_done=lambda _: answered.set())
        self._settle()
        try:
            while not all(call.done for call in calls):
                await answered.wait()
                answered.clear()
        finally:
            for call in calls:
                self.core.cancel(call)
            self._settle()
        return calls

    def fire(self, path: str, args: list[Any]) -> bool:
        self.check_open()
        sent = self.core.fire(path, args)
        self._settle()
        return sent

    async def when_free(self, name: str) -> None:
        """Wait for the answer that ends a contract of this name, if one is being left."""
        while (former := self.core.contracts.leaving(name)) is not None:
            await self.leave_contract(former).wait()

    def open_contract(self, contract: OpenContract) -> None:
        if self.core.status == "closed":
            raise self.core.closed_error()
        self.core.contracts.add(contract)
        self._settle()

    def leave_contract(self, contract: OpenContract) -> asyncio.Event:
        """Leave it for good. Returns what is set when nothing of it can arrive any more."""
        left = asyncio.Event()
        self.core.contracts.remove(contract, left.set)
        self._settle()
        return left

    async def call_within(
        self,
        contract: OpenContract,
        path: str,
        args: list[Any],
        result_type: Any,
        options: CallOptions,
        first: Callable[[Call], object] = lambda _: None,
    ) -> Any:
        """As :meth:`call`, of a contract's own, with which it ends; ``first`` is told of the answer at once."""

        def start(on_done: Callable[[Call], object]) -> Call:
            def done(call: Call) -> None:
                first(call)
                on_done(call)

            return self.core.call(
                f"{contract.name}/{path}",
                args,
                timeout=options.timeout,
                idempotency_key=options.idempotency_key,
                on_done=done,
            )

        return await self._call(start, result_type, contract)

    async def join_room(self, contract: OpenContract, room: str, args: list[Any], options: CallOptions) -> None:
        """Ask for a room, unless it is joined, from start to answer; forgotten when cancelled."""
        asked = contract.ask(room, args)
        # Before whoever waits runs, for the connection may be lost by then.
        first = partial(contract.answered, asked)
        try:
            if not asked.joined:
                await self.call_within(contract, f"__join/{room}", args, Any, options, first)
        finally:
            contract.settle(asked)

    def listen(self, subscription: Subscription) -> None:
        self.check_open()
        self.core.listen(subscription)
        self._settle()

    def unsubscribe(self, subscription: Subscription) -> None:
        self.core.unsubscribe(subscription)
        self._settle()

    async def load_more(self, subscription: Subscription, args: list[Any]) -> bool:
        """The next page; goes on without the caller when cancelled. Returns whether there are further ones."""
        self.check_open()
        if self.core.status == "closed":
            raise self.core.closed_error()
        answered: asyncio.Future[bool | RpcError] = self._loop.create_future()

        def on_done(outcome: bool | RpcError) -> None:
            if not answered.done():
                answered.set_result(outcome)

        if not self.core.streams.load_more(subscription, args, on_done):
            await asyncio.sleep(0)  # `while handle.has_more:` must not keep the loop from bringing the page
            return False
        self._settle()
        outcome = await answered
        if isinstance(outcome, RpcError):
            raise outcome
        return outcome
