"""A server made of functions, and callers of it."""

from types import SimpleNamespace
from typing import Any

from liverpc import LiveServer, RpcError, public, remote
from liverpc.testing import TestEnv

ANN, BEN = {"id": "ann"}, {"id": "ben"}


def server(**functions: Any) -> LiveServer:
    """Each function on ``m/<its name here>``."""
    return LiveServer({"m": SimpleNamespace(**functions, _guard=public())})


class Caller:
    """One connection; what fails comes back as its error."""

    def __init__(self, env: TestEnv, user: Any = None, **options: Any) -> None:
        self.client = env.connect(user=user, **options)

    async def __call__(self, path: str, *args: Any, key: str | None = None) -> Any:
        client = self.client if key is None else self.client.using(idempotency_key=key)
        try:
            return await client.using(fresh=True).call(remote(f"m/{path}"), *args)
        except RpcError as error:
            return error

    async def code(self, path: str, *args: Any, key: str | None = None) -> str:
        """Of the error, or ``ok``."""
        answer = await self(path, *args, key=key)
        return answer.code if isinstance(answer, RpcError) else "ok"

    async def codes(self, path: str, times: int) -> list[str]:
        return [await self.code(path) for _ in range(times)]
