"""Values that come in pages, and values given by the program."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from liverpc.client.subscription import Subscription
from tests.client.core_kit import Peer, Row, reopened, stream

KNOWN = {"seq": 4, "epoch": "e", "version": "v1", "schemaVersion": 3}


@pytest.fixture
def peer() -> Peer:
    peer = Peer(jitter=(1.0, 1.0))
    peer.open()
    return peer


# -- pages


PAGED = {"hasMore": True, "cursor": 0}


class Pages:
    """Asks a stream for its next page."""

    def __init__(self, peer: Peer, subscription: Subscription) -> None:
        self.peer = peer
        self.subscription = subscription
        self.done: list[Any] = []

    def more(self, *args: Any) -> Any:
        """The request; None: there was none."""
        asked = self.peer.core.streams.load_more(self.subscription, list(args), self.done.append)
        frames = self.peer.sent()
        assert len(frames) == asked
        return frames[0] if frames else None


def test_pages_are_added_until_there_are_none(peer: Peer) -> None:  # acceptance 215
    pages = Pages(peer, stream(peer, "r", data=[{"id": 1}], answer=PAGED | KNOWN | {"max": 2}))
    frame = pages.more("extra")
    name = frame.pop("id")
    assert frame == {"rpc": "a/s", "args": ["r", "extra"], "stream": True, "cursor": 0, "schemaVersion": 3}
    assert pages.more() is None  # one is being loaded
    rows = [{"id": 3}, {"id": 1, "x": 1}, {"id": 2}]
    peer.answer(name, rows, topic="t", hasMore=True, cursor="")
    assert pages.subscription.value == [{"id": 1, "x": 1}, {"id": 3}, {"id": 2}]
    assert (pages.done, pages.subscription.has_more) == ([True], True)
    peer.answer(pages.more()["id"], [{"id": 4}], topic="t", hasMore=False, cursor=None)
    assert (pages.done, len(pages.subscription.value)) == ([True, False], 4)
    assert pages.more() is None


def test_with_prepend_too_a_page_goes_to_the_end(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED | {"prepend": True}))
    peer.answer(pages.more()["id"], [{"id": 3}, {"id": 1}, {"id": 2}], hasMore=False)
    assert [row["id"] for row in pages.subscription.value] == [1, 3, 2]


@pytest.mark.parametrize("members", [{}, {"hasMore": True}, {"hasMore": True, "cursor": None}, {"cursor": 3}])
def test_without_a_further_page_or_a_cursor_nothing_is_asked(peer: Peer, members: Any) -> None:
    pages = Pages(peer, stream(peer, answer=members))
    assert (pages.subscription.has_more, pages.more()) == (False, None)


@pytest.mark.parametrize("how", ["reconnect", "refreshed"])
def test_a_page_of_a_value_that_was_replaced_is_dropped(peer: Peer, how: str) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED))
    name = pages.more()["id"]
    if how == "reconnect":
        peer.core.connection_lost(1006)
        (error,) = pages.done
        assert error.code == "DISCONNECTED"
        waiting = Pages(peer, pages.subscription)
        assert waiting.peer.core.streams.load_more(pages.subscription, [], waiting.done.append)
        request, page = peer.open()
        peer.answer(request["id"], [{"id": 9}], topic="t", hasMore=True, cursor=9)
        peer.answer(page["id"], [{"id": 2}], hasMore=False)
        assert waiting.done == [True]
    else:
        peer.event("t", "refreshed", [{"id": 9}], hasMore=True, cursor=9)
        peer.answer(name, [{"id": 2}], hasMore=False)
        assert pages.done == [True]
    assert (pages.subscription.value, pages.subscription.has_more) == ([{"id": 9}], True)
    assert pages.more()["cursor"] == 9


def test_a_missed_reload_of_a_page_is_answered_by_asking_for_the_first_page(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED | {"seq": 4, "epoch": "e"}))
    peer.answer(pages.more()["id"], [{"id": 2}], hasMore=False)
    missed = [{"seq": 5, "event": "refreshed", "data": [{"id": 9}]}]
    reopened(peer, {"replay": True, "seq": 5, "epoch": "e"}, missed)
    (frame,) = peer.sent()
    assert not frame.keys() & {"seq", "epoch"}
    peer.answer(frame["id"], [{"id": 9}], topic="t", seq=5, epoch="e", hasMore=True, cursor=9)
    assert (pages.subscription.value, pages.more()["cursor"]) == ([{"id": 9}], 9)


def test_a_missed_reload_of_a_whole_value_is_applied(peer: Peer) -> None:
    subscription = stream(peer, data=[{"id": 1}], answer={"seq": 4, "epoch": "e"})
    missed = [{"seq": 5, "event": "refreshed", "data": [{"id": 9}]}]
    reopened(peer, {"replay": True, "seq": 5, "epoch": "e"}, missed)
    assert (subscription.value, peer.sent()) == ([{"id": 9}], [])


def test_a_reload_that_waited_for_an_event_before_it_tells_of_further_pages(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED | {"seq": 4, "epoch": "e"}))
    peer.event("t", "refreshed", [{"id": 9}], seq=6, hasMore=True, cursor=9)
    peer.event("t", "created", {"id": 2}, seq=5)
    peer.sent()
    assert (pages.subscription.value, pages.more()["cursor"]) == ([{"id": 9}], 9)


def test_a_reload_that_does_not_fit_leaves_the_pages_as_they_were(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED, result_type=list[Row]))
    peer.event("t", "refreshed", [{"id": "x"}], hasMore=True, cursor=9)
    assert (pages.subscription.value, pages.subscription.status) == ([Row(1)], "error")
    assert pages.more()["cursor"] == 0


def test_a_reload_that_is_no_page_has_no_further_ones(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED))
    peer.event("t", "refreshed", [{"id": 9}])
    assert (pages.subscription.has_more, pages.more()) == (False, None)


def test_a_page_that_fails_or_does_not_fit_changes_nothing(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, data=[{"id": 1}], answer=PAGED, result_type=list[Row]))
    peer.answer(pages.more()["id"], ok=False, code="FORBIDDEN", error="no")
    peer.answer(pages.more()["id"], [{"id": 2}, {"id": "x"}], hasMore=False)
    assert [error.code for error in pages.done] == ["FORBIDDEN", "STREAM_ERROR"]
    assert (pages.subscription.value, pages.subscription.status) == ([Row(1)], "connected")
    assert pages.more()["cursor"] == 0


def test_leaving_ends_the_wait_for_a_page(peer: Peer) -> None:
    pages = Pages(peer, stream(peer, answer=PAGED))
    pages.more()
    peer.core.unsubscribe(pages.subscription)
    peer.sent()
    assert [error.code for error in pages.done] == ["CONNECTION_CLOSED"]


# -- values from elsewhere


def test_a_given_value_shows_until_the_servers_comes(peer: Peer) -> None:  # acceptance 216
    told: list[Any] = []
    subscription = peer.core.subscribe("a/s", [], result_type=list[Row], on_change=lambda s: told.append(s.value))
    subscription.hydrate([{"id": 7}])
    assert (subscription.value, subscription.status, told) == ([Row(7)], "loading", [[Row(7)]])
    name = peer.request()
    peer.answer(name, ok=False, code="OVERLOADED", error="later")
    assert (subscription.value, subscription.status) == ([Row(7)], "error")
    reopened(peer, {}, [{"id": 1}])
    assert subscription.value == [Row(1)]
    subscription.hydrate([Row(8)])
    assert subscription.value == [Row(1)]


@pytest.mark.parametrize("kind", ["channel", "derived"])
def test_placeholders_do_not_replace_a_given_value(peer: Peer, kind: str) -> None:  # acceptance 216
    subscription = peer.core.subscribe("a/s", [], result_type=list[Row])
    subscription.hydrate([Row(7)])
    peer.answer(peer.request(), [], topic="t", **{kind: True})
    assert subscription.value == [Row(7)]
    peer.event("t", "updated", {"id": 7, "text": "x"})
    assert subscription.value == [Row(7, "x")]


def test_a_given_value_goes_to_the_shared_store(peer: Peer) -> None:
    first = peer.core.subscribe("a/s", [])
    given = Subscription("a/s", [], timeout=1.0)
    given.hydrate([{"id": 7}])
    peer.core.listen(given)
    assert first.value == given.value == [{"id": 7}]


def test_a_given_value_and_that_of_a_shared_store_are_two_values(peer: Peer) -> None:
    stream(peer, data=[{"id": 1}])
    given = Subscription("a/s", [], timeout=1.0)
    given.hydrate([{"id": 7}])
    before = given.version
    peer.core.listen(given)
    assert given.value == [{"id": 1}]
    assert given.version > before


def test_a_given_value_that_does_not_fit_is_not_shown(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    subscription = peer.core.subscribe("a/s", [], result_type=list[Row])
    subscription.hydrate([{"id": "x"}])
    assert not subscription.has_value
    assert "does not fit" in caplog.text
    other = peer.core.subscribe("a/s", ["other"])
    peer.core.unsubscribe(subscription)
    other.hydrate({"id": 1})
    with caplog.at_level(logging.WARNING):
        (frame,) = (frame for frame in peer.sent() if frame.get("args") == ["other"])
        peer.answer(frame["id"], [], topic="t", channel=True)
    assert "is no list" in caplog.text
    assert other.value == []
