"""What the load tests drive: an echo, and topics of their own to publish on."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from liverpc import Context, live, public
from liverpc.demo.world import Visitor

_guard = public()

Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z")]


@live.channel(merge="latest", item=object, max=1)
def events(ctx: Context[Visitor], name: Name) -> str:
    """Everything published on ``load:<name>``."""
    return f"load:{name}"


@live
def echo(ctx: Context[Visitor], value: Any = None) -> Any:
    """What came in."""
    return value


@live
def publish(ctx: Context[Visitor], name: Name, value: Any = None) -> None:
    """Send ``value`` to the subscribers of ``load:<name>``."""
    ctx.publish(f"load:{name}", "event", value)
