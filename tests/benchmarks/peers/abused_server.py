"""The server of the abuse tests, with the functions of the other servers."""

from __future__ import annotations

import asyncio

from tests.benchmarks.peers import handlers
from tests.e2e.abuse_programs import serve

if __name__ == "__main__":
    asyncio.run(serve({"bench": handlers}))
