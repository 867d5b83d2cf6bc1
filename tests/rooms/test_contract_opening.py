"""How contracts are opened: where, by whom, with what, and what comes of it when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
import os
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from liverpc import ConfigError, Context, DeclarationError, Limits, LiveError, LiveServer, Reject, guard, live
from liverpc._types import Locals
from liverpc.client.socket import HandshakeRefused
from liverpc.declare.contract import Contract
from liverpc.declare.keys import RoomKey
from liverpc.declare.members import event, room
from liverpc.hub.link import ConnectRequest
from liverpc.pages import Events
from liverpc.testing import TestEnv
from tests.rooms.contract_kit import NOT_FOUND, REJECTED, App, Page, Who, serve

OPENED = {"ok": True, "data": {"joined": ["chat"], "refused": []}}


class Number(msgspec.Struct):
    number: int


class Counted(Contract[Events, Number], path="/counted/{number}"):
    @event
    def double(self) -> int:
        return 2 * self.params.number


class Remaining(msgspec.Struct):
    rest: str


class N(msgspec.Struct):
    n: int


class Rest(Contract[Events, Remaining], path="/files/{rest:path}"):
    @event
    def here(self) -> None: ...


class Lobby(Contract[Events], path="/files/lobby"):
    @event
    def here(self) -> None: ...


class Elsewhere(Contract[Events], path="/elsewhere", name="chat"):
    @event
    def hello(self) -> str:
        return "hello"


# -- where


@pytest.mark.parametrize(
    "path", ["/rooms", "/rooms/", "/rooms/a/b", "/rooms/%ff", "/Rooms/a", "/", "/counted/x", "/files"]
)
async def test_a_url_that_fits_nothing_is_a_404(path: str) -> None:
    # acceptance 250
    async with serve(App().Chat, Counted, Rest) as env:
        with pytest.raises(HandshakeRefused) as refused:
            await env.transport.connect(path)
        assert refused.value.status == 404


async def test_parameters_come_decoded_from_the_url_and_as_declared() -> None:
    seen: list[Any] = []

    def on_connect(request: ConnectRequest) -> Any:
        seen.append(dict(request.params))

    app = App()
    async with serve(app.Chat, Counted, Rest, on_connect=on_connect) as env:
        page = await Page.open(env, "/counted/21")
        assert (await page.call("counted/__event/double"))["data"] == 42
        await Page.open(env, "/rooms/caf%C3%A9%2Fbar")
        await env.settle()
        assert app.instances[0].params.room_id == "café/bar"
        await Page.open(env, "/files/a/b%20c")
        await Page.open(env, "/ws")
    assert seen == [{"number": "21"}, {"room_id": "café/bar"}, {"rest": "a/b c"}, {}]


async def test_a_segment_that_is_written_out_wins_over_one_in_braces() -> None:
    async with serve(Rest, Lobby) as env:
        page = await Page.open(env, "/files/lobby")
        assert (await page.call("lobby/__event/here"))["ok"]
        assert await page.call("rest/__event/here") == NOT_FOUND


async def test_two_routes_may_have_a_contract_of_one_name() -> None:
    # acceptance 250
    async with serve(App().Chat, Elsewhere) as env:
        there, here = await Page.open(env, "/elsewhere"), await Page.open(env, "/rooms/a")
        assert (await there.call("chat/__event/hello"))["data"] == "hello"
        assert await here.call("chat/__event/hello") == NOT_FOUND
        assert await there.call("chat/__event/whisper") == NOT_FOUND
        plain = await Page.open(env, "/ws")
        assert await plain.call("chat/__open", {}) == NOT_FOUND  # which of them?
        assert (await plain.call("chat/__open", {}, "/elsewhere"))["ok"]
        assert (await plain.call("chat/__event/hello"))["data"] == "hello"
        refused = await plain.call("chat/__open", {"room_id": "a"}, "/rooms/{room_id}")
        assert refused["code"] == "INVALID_REQUEST"


def test_contracts_that_cannot_be_told_apart_fail_at_start() -> None:
    class Again(Contract[Events], path="/elsewhere", name="chat"): ...

    with pytest.raises(DeclarationError, match=r"Elsewhere and .*Again are both 'chat' on '/elsewhere'"):
        LiveServer([Elsewhere, Again])
    with pytest.raises(DeclarationError, match="listed twice"):
        LiveServer([Elsewhere, Elsewhere])

    class OtherNames(Contract[Events, N], path="/counted/{n}"): ...

    with pytest.raises(DeclarationError, match=r"Counted and .*OtherNames are on the same URLs"):
        LiveServer([Counted, OtherNames])


@pytest.mark.parametrize("path", ["/ws", "/healthz", "/readyz", "/__ws/auth", "/__liverpc/attach"])
def test_a_contract_on_a_path_of_the_server_fails_at_start(path: str) -> None:
    class Taken(Contract[Events], path=path): ...

    with pytest.raises(ConfigError, match=r"Taken: path=.* is a path of the server"):
        LiveServer([Taken])


async def test_a_pattern_for_everything_leaves_the_paths_of_the_server_alone() -> None:
    class Everything(Contract[Events, Remaining], path="/{rest:path}"): ...

    async with serve(Everything) as env:
        assert env.server.endpoint("/any/thing") is not None
        assert env.server.endpoint("/healthz") is None
        assert env.server.endpoint("/__ws/auth") is None


def test_a_function_on_the_path_of_a_contract_fails_at_start() -> None:
    @live(path="chat/__event/send")
    def send(ctx: Context[Any]) -> None: ...

    app = App()
    with pytest.raises(DeclarationError, match="two declarations answer on 'chat/__event/send'"):
        LiveServer({"a": SimpleNamespace(send=send, Chat=app.Chat)})


def test_contracts_of_other_modules_do_not_count_as_those_of_a_module() -> None:
    module: Any = SimpleNamespace(__name__="elsewhere.else", Elsewhere=Elsewhere)
    with pytest.raises(DeclarationError, match="no contract"):
        LiveServer([module])


# -- opening


async def test_rooms_are_joined_before_the_first_call_is_answered() -> None:
    # acceptance 244
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        sent = await page.ask("chat/__event/send", {"text": "1"})
        also = await page.ask("chat/__event/send", {"text": "2"})
        await env.settle()
        assert app.log == ["chat", "tenant"]
        app.gates["chat"].set()
        assert (await page.answer(sent))["ok"]
        assert (await page.answer(also))["ok"]
        assert [data["text"] for _, _, data in await page.heard()] == ["1", "2"]


async def test_a_client_that_only_listens_hears_the_rooms_of_its_url() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        env.server.contract(app.Chat).chat.at("chat", "a").emit.cleared()
        assert await page.heard() == [("chat/chat", "cleared", None)]


async def test_opening_again_gives_the_same_answer_and_runs_nothing_twice() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        for _ in range(3):
            assert await page.call("chat/__open", {"room_id": "a"}) == OPENED
        assert app.log == ["chat", "tenant"]
        assert len(app.instances) == 1


@pytest.mark.parametrize("params", [{"room_id": "b"}, {}, {"room_id": "a", "more": "x"}])
async def test_other_parameters_are_an_invalid_request(params: dict[str, str]) -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/rooms/a")
        assert (await page.call("chat/__open", params))["code"] == "INVALID_REQUEST"
        assert await page.call("chat/__open", {"room_id": "a"}) == OPENED


@pytest.mark.parametrize(
    "params", [{}, {"room_id": ""}, {"room": "a"}, {"room_id": "a", "x": "y"}, {"room_id": None}, 7, "a"]
)
async def test_parameters_that_do_not_fit_are_a_validation_fault_and_open_nothing(params: Any) -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws")
        refused = await page.call("chat/__open", params)
        assert (refused["code"], refused["issues"][0]["path"]) == ("VALIDATION", ["params"])
        assert await page.call("chat/__event/whisper") == NOT_FOUND
        assert not env.server._contracts
        assert await page.call("chat/__open", {"room_id": "a"}) == OPENED


async def test_calls_behind_an_opening_need_not_wait_for_its_answer() -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/ws")
        await page.ask("chat/__open", {"room_id": "a"})
        assert (await page.call("chat/__event/send", {"text": "hi"}))["ok"]
        assert ("chat/chat", "message", {"text": "hi"}) in await page.heard()


async def test_a_contract_that_is_not_open_is_not_there_and_no_guard_runs() -> None:
    ran: list[str] = []
    app = App()
    async with serve(app.Chat, guards=[guard(lambda ctx: ran.append(ctx.path))]) as env:
        page = await Page.open(env, "/ws")
        for path in ("__event/send", "__event/nope", "__join/project", "__join/nope", "__leave/project", "__close"):
            assert await page.call(f"chat/{path}", {"text": "x"}) == NOT_FOUND
            assert await page.call(f"nope/{path}", {"text": "x"}) == NOT_FOUND
        assert await page.call("nope/__open", {}) == NOT_FOUND
        assert await page.call("chat/__open", {"room_id": "a"}, "/rooms/{other}") == NOT_FOUND
        assert ran == []
        await page.call("chat/__open", {"room_id": "a"})
        for path in ("__event/nope", "__join/nope", "__leave/nope"):
            assert await page.call(f"chat/{path}") == NOT_FOUND
        assert ran == ["chat/__open"]


async def test_closing_leaves_everything_and_opening_begins_anew() -> None:
    app = App()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        await page.call("chat/__join/project", {"project_id": "p1"})
        assert await page.call("chat/__close") == {"ok": True, "data": None}
        assert not env.server._hub.topics
        assert await page.call("chat/__event/send", {"text": "x"}) == NOT_FOUND
        assert await page.call("chat/__close") == NOT_FOUND
        assert await page.call("chat/__open", {"room_id": "b"}) == OPENED
        assert [instance.params.room_id for instance in app.instances] == ["a", "b"]
        assert len(env.server._hub.topics) == 1


async def test_closing_during_the_opening_wins() -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/ws")
        opening = await page.ask("chat/__open", {"room_id": "a"})
        acting = await page.ask("chat/__event/whisper")
        await env.settle()
        closing = await page.ask("chat/__close")
        await env.settle()
        app.gates["chat"].set()
        assert await page.answer(acting) == NOT_FOUND
        assert (await page.answer(closing))["ok"]
        assert await page.answer(opening) == NOT_FOUND
        assert not env.server._hub.topics


# -- when something goes wrong


async def test_a_room_whose_key_cannot_be_computed_is_refused_and_the_others_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "liverpc.rooms")
    app = App()
    told: list[str] = []
    async with serve(app.Chat, on_error=lambda path, error, ctx: told.append(f"{path} {error!r}")) as env:
        page = await Page.open(env, "/rooms/a")
        assert await page.call("chat/__open", {"room_id": "a"}) == OPENED
        assert await page.call("chat/__join/tenant") == REJECTED
        assert app.log == ["chat", "tenant"]  # the failure is remembered
        assert "UNAUTHENTICATED" in caplog.text
        assert told == []

        app.key = lambda contract: os.environ["SECRET"]
        for other in [await Page.open(env, "/rooms/b") for _ in range(3)]:
            answer = await other.call("chat/__open", {"room_id": "b"})
            assert answer == {"ok": True, "data": {"joined": [], "refused": ["chat"]}}
            assert (await other.call("chat/__event/send", {"text": "x"}))["code"] == "JOIN_REJECTED"
            assert await other.call("chat/__event/whisper") == {"ok": True, "data": None}
        assert len([record for record in caplog.records if "KeyError" in record.getMessage()]) == 1
        assert told == ["chat/__open KeyError('SECRET')"] * 3


@pytest.mark.parametrize(
    "key", [None, False, True, "", (), [], ("a", None), ("a", ""), 1.5, ("a", ("b",)), b"x", {"a": 1}]
)
async def test_what_is_no_key_makes_no_room(key: Any) -> None:
    app = App()
    app.key = lambda contract: key
    async with serve(app.Chat) as env:
        page = await Page.open(env, "/rooms/a")
        assert (await page.call("chat/__open", {"room_id": "a"}))["data"] == {"joined": [], "refused": ["chat"]}
        assert not env.server._hub.topics


async def test_keys_that_take_too_long_are_refused() -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    async with serve(app.Chat, limits=Limits(connect_seconds=2)) as env:
        began = asyncio.get_running_loop().time()
        page = await Page.open(env, "/rooms/a", user="ann")
        answer = await page.call("chat/__open", {"room_id": "a"})
        assert answer["data"] == {"joined": [], "refused": ["chat"]}
        assert asyncio.get_running_loop().time() - began == pytest.approx(2)
        assert "within 2 s" in env.server.rooms[1].refusals()[0].reason


async def test_who_cannot_join_a_required_room_is_closed() -> None:
    class Strict(Contract[Events, None, Who], path="/strict"):
        @room.private(auto_join=True)
        def open_to_all(self) -> RoomKey:
            return "all"

        @room.private(auto_join=True, required=True)
        def members(self) -> RoomKey:
            return self.require(self.locals.user).id

        @event
        def act(self) -> None:
            raise AssertionError("nobody gets here")

    async with serve(Strict) as env:
        assert (await (await Page.open(env, "/strict", user="ann")).call("strict/__open"))["ok"]
        page = await Page.open(env, "/strict")
        assert await page.closed() == 4403
        plain = await Page.open(env, "/ws")
        await plain.ask("strict/__open")
        await plain.ask("strict/__event/act")
        assert await plain.closed() == 4403


async def test_the_guard_decides_about_opening_too() -> None:
    app = App()

    async def members(ctx: Context[Any]) -> None:
        await asyncio.sleep(0)
        if ctx.user is None:
            raise LiveError("NO", "members only")

    no = {"ok": False, "code": "NO", "error": "members only"}
    async with serve(app.Chat, guards=[members]) as env:
        page = await Page.open(env, "/rooms/a")
        await env.settle()
        assert app.log == []
        assert await page.call("chat/__event/send", {"text": "x"}) == NOT_FOUND
        assert await page.call("chat/__open", {"room_id": "a"}) == no
        assert not env.server._contracts
        ann = await Page.open(env, "/rooms/a", user="ann")
        assert (await ann.call("chat/__event/who"))["data"] == "ann"


async def test_middleware_and_before_execute_see_openings_actions_and_joins() -> None:
    seen: list[Any] = []
    app = App()

    def before(ctx: Context[Any], path: str, args: list[Any]) -> None:
        seen.append((path, args))

    server = LiveServer([app.Chat], before_execute=before)

    @server.middleware
    async def around(ctx: Context[Any], proceed: Any) -> Any:
        seen.append(ctx.path)
        return await proceed()

    async with TestEnv(server) as env:
        page = await Page.open(env, "/rooms/a")
        await page.call("chat/__event/odd")
        await page.call("chat/__join/project", {"project_id": 1})
    assert seen == [
        "chat/__open", ("chat/__open", [{"room_id": "a"}, "/rooms/{room_id}"]),
        "chat/__event/odd", ("chat/__event/odd", []),
        "chat/__join/project", ("chat/__join/project", [{"project_id": 1}]),
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["guard", "chat", "project", "send"])
async def test_a_connection_that_is_lost_at_any_await_leaves_nothing(where: str) -> None:
    app = App()
    app.gates[where] = asyncio.Event()

    async def waiting(ctx: Context[Any]) -> None:
        if where == "guard":
            await app.gates["guard"].wait()

    async with serve(app.Chat, guards=[waiting]) as env:
        page = await Page.open(env, "/rooms/a", user="ann")
        await page.ask("chat/__open", {"room_id": "a"})
        await page.ask("chat/__join/project", {"project_id": "p1"})
        await page.ask("chat/__event/send", {"text": "x"})
        await env.settle()
        page.socket.cut()
        await asyncio.sleep(1)
        assert not env.server._contracts
        assert not env.server._hub.topics
        app.gates[where].set()
        await env.settle()
        assert not env.server._hub.topics


# -- locals


async def test_the_hook_runs_on_each_connection_and_only_its_locals_reach_handlers() -> None:
    # acceptance 248
    seen: list[str] = []
    users: list[Any] = []

    def on_connect(request: ConnectRequest) -> Who:
        seen.append(request.cookies.get("session", ""))
        if request.cookies.get("session") == "bad":
            raise Reject("UNAUTHENTICATED", "sign in")
        return Who(users[-1] if users else None)

    app = App()

    @live
    def me(ctx: Context[Any]) -> list[Any]:
        return [ctx.user, isinstance(ctx.locals, Who)]

    async with serve(app.Chat, SimpleNamespace(__name__=__name__, me=me), on_connect=on_connect) as env:
        first = await Page.open(env, "/rooms/a", cookie="session=s1")
        assert (await first.call("chat/__event/who"))["data"] is None
        users.append(SimpleNamespace(id="ann", tenant="t"))
        again = await Page.open(env, "/rooms/a", cookie="session=s2")
        assert (await again.call("chat/__event/who"))["data"] == "ann"
        assert env.server.connections[-1].user_id == "ann"
        assert env.server.connections[-1].user is users[-1]
        assert (await first.call("test_contract_opening/me"))["data"] == [None, True]
        refused = await env.transport.connect("/rooms/a", headers={"cookie": "session=bad"})
        assert await Page(refused).closed() == 4401
    assert seen == ["s1", "s2", "bad"]


async def test_what_is_no_locals_is_user_and_locals_at_once() -> None:
    app = App()
    async with serve(app.Chat, on_connect=lambda request: {"id": "ann"}) as env:
        await Page.open(env, "/rooms/a")
        await env.settle()
        assert app.instances[0].locals == {"id": "ann"} == env.server.connections[0].user


async def test_locals_without_a_user_are_anonymous() -> None:
    class Nobody(Locals, frozen=True):
        tenant: str = "t"

    async with serve(Counted, on_connect=lambda request: Nobody()) as env:
        await Page.open(env, "/counted/1")
        assert env.server.connections[0].user is None
        assert env.server.connections[0].locals == Nobody()


class Other(Locals, frozen=True): ...


def test_locals_that_differ_from_what_on_connect_returns_fail_at_start() -> None:
    def wrong(request: ConnectRequest) -> Other:
        return Other()

    async def right(request: ConnectRequest) -> Who:
        return Who()

    with pytest.raises(ConfigError, match=r"Chat is declared with Locals Who, but on_connect .*wrong.* returns"):
        LiveServer([App().Chat], on_connect=wrong)
    LiveServer([App().Chat], on_connect=right)
    LiveServer([App().Chat], on_connect=lambda request: None)


# -- declared


async def test_a_contract_that_is_listed_itself_keeps_the_guard_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    monkeypatch.setattr("tests.rooms.contract_kit._guard", guard(authenticated=True))
    async with serve(app.Chat) as env:
        page, ann = await Page.open(env, "/rooms/a"), await Page.open(env, "/rooms/a", user="ann")
        assert (await page.call("chat/__open", {"room_id": "a"}))["code"] == "UNAUTHENTICATED"
        assert await ann.call("chat/__open", {"room_id": "a"}) == OPENED


async def test_a_contract_that_cannot_be_made_is_not_open() -> None:
    class Broken(Contract[Events], path="/broken"):
        def __init__(self, params: None, locals: Any) -> None:  # noqa: A002 - the base's name
            raise ValueError("a secret")

        @event
        def act(self) -> None: ...

    async with serve(Broken) as env:
        page = await Page.open(env, "/broken")
        await env.settle()
        assert await page.call("broken/__event/act") == NOT_FOUND
        refused = await page.call("broken/__open")
        assert (refused["code"], refused["error"]) == ("INTERNAL_ERROR", "Internal server error")
        assert not env.server._contracts


async def test_an_opening_that_is_given_up_goes_on_with_the_next_call() -> None:
    app = App()
    app.gates["chat"] = asyncio.Event()
    server = LiveServer([app.Chat])

    @server.middleware
    async def impatient(ctx: Context[Any], proceed: Any) -> Any:
        try:
            async with asyncio.timeout(1):
                return await proceed()
        except TimeoutError:
            raise LiveError("TIMEOUT", "not now") from None

    async with TestEnv(server) as env:
        page = await Page.open(env, "/ws")
        assert (await page.call("chat/__open", {"room_id": "a"}))["code"] == "TIMEOUT"
        assert not server._contracts
        opening = await page.ask("chat/__open", {"room_id": "a"})
        acting = await page.ask("chat/__event/whisper")
        await env.settle()
        app.gates["chat"].set()
        assert await page.answer(opening) == OPENED
        assert (await page.answer(acting))["ok"]


# -- parameters that the application reads itself


class Picky(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        if self.name != "good":
            raise KeyError("a secret")


class Choosy(Contract[Events, Picky], path="/choosy/{name}"):
    @event
    def here(self) -> None: ...


async def test_parameters_that_fail_unexpectedly_do_not_fit_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve(Choosy) as env:
        for name in ("bad", "worse"):
            with pytest.raises(HandshakeRefused) as refused:
                await env.transport.connect(f"/choosy/{name}")
            assert refused.value.status == 404
        page = await Page.open(env, "/ws")
        answer = await page.call("choosy/__open", {"name": "bad"})
        assert (answer["code"], answer["issues"]) == (
            "VALIDATION",
            [{"path": ["params"], "message": "they could not be read"}],
        )
        assert (await (await Page.open(env, "/choosy/good")).call("choosy/__event/here"))["ok"]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


@pytest.mark.parametrize("number", ["1.0", "1e2", "-0", "+1", "01", "1_0", "%201", "null", "true", "\u0661"])
async def test_an_integer_has_one_url(number: str) -> None:
    async with serve(Counted) as env:
        with pytest.raises(HandshakeRefused):
            await env.transport.connect(f"/counted/{number}")
        assert (await (await Page.open(env, "/ws")).call("counted/__open", {"number": number}))["code"] == "VALIDATION"
        for good in ("0", "-1", "100"):
            page = await Page.open(env, f"/counted/{good}")
            assert (await page.call("counted/__event/double"))["data"] == 2 * int(good)


@pytest.mark.parametrize("args", [{}, "x", 7, None])
async def test_arguments_that_are_no_list_are_answered_alike_for_every_name(args: Any) -> None:
    async with serve(App().Chat) as env:
        page = await Page.open(env, "/ws")
        answers = []
        for name in ("chat", "nope"):
            await page.send(rpc=f"{name}/__open", id="x", args=args)
            answers.append(await page.answer("x"))
        assert answers[0] == answers[1]
        assert answers[0]["code"] == "INVALID_REQUEST"
