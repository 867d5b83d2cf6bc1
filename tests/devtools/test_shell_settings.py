"""Settings, keys, saved views and commands, without a screen; and the keys on one."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.errors import ConfigError
from liverpc_devtools.cli import main
from liverpc_devtools.core.address import Address
from liverpc_devtools.core.commands import COMMANDS, CommandError, CommandLog, equivalent, find
from liverpc_devtools.core.fuzzy import ranked, score
from liverpc_devtools.core.keymap import Key, check, key_names, shown
from liverpc_devtools.core.saved import SavedView, SavedViews
from liverpc_devtools.core.settings import Settings, read_settings, write_keys
from liverpc_devtools.known_keys import known_keys
from tests.devtools.attach_frames import full
from tests.devtools.conftest import TOPICS, OpenBench, fed

GOOD = """theme = "light"  # mine

[keys]
"streams.pause" = "P"

[context.prod]
url = "wss://rt.example.org"
token_cmd = "printf %s-real-secret not-a"
readonly = true
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "liverpc").mkdir()
    return tmp_path / "liverpc" / "tui.toml"


# -- the file


def test_without_a_file_nothing_is_set(file: Path) -> None:
    assert read_settings() == Settings(file)


def test_keys_contexts_and_theme_are_read(file: Path) -> None:
    file.write_text(GOOD)
    settings = read_settings()
    assert (settings.theme, settings.keys) == ("light", {"streams.pause": "P"})
    prod = settings.context("prod")
    assert (prod.url, prod.readonly, prod.token) == ("wss://rt.example.org", True, "not-a-real-secret")
    assert settings.at("streams.pause") == f"{file}:4"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("theme =", "is no TOML"),
        ("theme = 3", ":1: theme is a name in quotes"),
        ("[keys]\na = 3", "[keys] has lines such as"),
        ("\nkeyz = 1", ":2: unknown: keyz"),
        ("[context.a]\ntoken_file = 'x'", ":1: [context.a] needs a url"),
        ("\n[context.a]\nurl = 'x'\ntoken = 'x'", ":2: [context.a] has an unknown 'token'"),
        ("[context.a]\nurl = 'x'\nreadonly = 'yes'", "readonly is true or false"),
        ("context = 3", "contexts are sections"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_settings()
    assert problem in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_unknown_context_names_those_there_are(file: Path) -> None:
    file.write_text(GOOD)
    with pytest.raises(ConfigError, match=r"no context @stage .* there are: @prod"):
        Address.of("@stage", read_settings())


@pytest.mark.parametrize("command", ["false", "true", "no-such-program-anywhere", "'"])
def test_a_token_command_that_gives_none_is_told_without_what_it_said(file: Path, command: str) -> None:
    file.write_text(f'[context.a]\nurl = "ws://localhost:1"\ntoken_cmd = "{command}"\n')
    with pytest.raises(ConfigError, match="token_cmd of @a"):
        Address.of("@a", read_settings()).find()


def test_a_contexts_token_is_its_own_and_in_no_text(file: Path) -> None:
    file.write_text(GOOD)
    address = Address.of("@prod", read_settings())
    target = address.find()
    assert (target.token, address.readonly) == ("not-a-real-secret", True)
    assert "not-a-real-secret" not in repr((address, target))


def test_setting_keys_leaves_the_rest_of_the_file_as_it_is(file: Path) -> None:
    file.write_text(GOOD)
    write_keys(file, {"view.sort": "o", "streams.pause": '"'})
    assert read_settings().keys == {"view.sort": "o", "streams.pause": '"'}
    assert "# mine" in file.read_text()
    write_keys(file, {}, forget=["view.sort", "streams.pause"])
    assert read_settings() == Settings(file, {}, read_settings().contexts, "light", {})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["tui.toml"]


# -- keys


KEYS = [
    Key("app.quit", ("ctrl+q",), "quit"),
    Key("view.sort", ("s",), "sort"),
    Key("streams.pause", ("p",), "pause"),
    Key("streams.clear", ("c",), "clear"),
    Key("rpc.clear", ("c",), "clear"),
]


@pytest.mark.parametrize(
    ("keys", "good"),
    [
        ({"streams.pause": "P"}, {"streams.pause": "P"}),
        ({"streams.pause": "ctrl+g, ?"}, {"streams.pause": "ctrl+g,question_mark"}),
        ({"streams.pause": "c", "streams.clear": "p"}, {"streams.pause": "c", "streams.clear": "p"}),
        ({"rpc.clear": "p"}, {"rpc.clear": "p"}),  # another screen's
    ],
)
def test_wishes_that_can_be_had(keys: dict[str, str], good: dict[str, str]) -> None:
    assert check(KEYS, Settings(Path("f"), keys)) == (good, [])


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"streams.pause": "s"}, "s is taken by view.sort (sort)"),
        ({"view.sort": "c"}, "c is taken by"),
        ({"streams.pause": "c"}, "c is taken by streams.clear"),
        ({"streams.puase": "x"}, "nothing is called 'streams.puase'"),
        ({"streams.pause": "ctrl+i"}, "terminals send ctrl+i as tab"),
        ({"streams.pause": "ctrl+shift+p"}, "many terminals do not tell"),
        ({"streams.pause": "ctrl+c"}, "always ends the program"),
        ({"streams.pause": ""}, "is no key"),
        ({"streams.pause": "a b"}, "'a b' is no key"),
    ],
)
def test_wishes_that_cannot_be_had_are_told_with_the_line(keys: dict[str, str], problem: str) -> None:
    good, problems = check(KEYS, Settings(Path("f.toml"), keys, lines=dict.fromkeys(keys, 7)))
    assert good == {}
    assert problem in problems[0]
    assert problems[0].startswith("f.toml:7: ")


@given(st.text(max_size=20))
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        names = key_names(text)
    except ValueError:
        return
    assert names
    assert shown(names).isprintable()


def test_every_binding_with_an_id_is_described_once_and_unique() -> None:
    known = known_keys()
    assert len({each.id for each in known}) == len(known) > 60
    for each in known:
        assert each.description, each
        assert not each.description[0].isupper() or each.description.startswith("RPC"), each
        assert "." in each.id


def test_keys_are_listed_set_and_reset(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "--json"]) == 0
    records = {each["id"]: each for each in map(json.loads, capsys.readouterr().out.splitlines())}
    assert records["app.help"] | {"changed": False} == records["app.help"]
    assert records["app.help"]["keys"] == ["question_mark"]
    assert main(["keys", "set", "view.wrap", "ctrl+w"]) == 0
    assert main(["keys"]) == 0
    assert "* view.wrap" in capsys.readouterr().out
    assert main(["keys", "set", "view.wrap", "q"]) == 2
    assert "q is taken by app.quit_or_back" in capsys.readouterr().err
    assert main(["keys", "reset"]) == 0
    assert read_settings().keys == {}
    assert main(["keys", "reset", "view.wrap"]) == 2


@pytest.mark.realtime
async def test_a_changed_key_works_and_is_told(bench: OpenBench) -> None:
    async with bench(size=(160, 40), keymap={"view.freeze": "B", "app.help": "ctrl+g"}) as it:
        await fed(it, full(topics=TOPICS))
        text = await it.press("space")
        assert "frozen" not in text
        assert "B freeze" in text
        assert "frozen" in await it.press("B")
        assert "freeze the view" in await it.press("ctrl+g")


# -- saved views


def test_views_are_kept_for_each_server(tmp_path: Path) -> None:
    told: list[str] = []
    path = tmp_path / "state" / "views.json"
    one, other = SavedViews("@prod", told.append, path=path), SavedViews("ws://b", told.append, path=path)
    view = SavedView("rpc", "ms>100ms", "ms", True, ["user"])
    assert one.save("slow", view)
    assert (one.get("slow"), one.names(), other.names()) == (view, ["slow"], [])
    assert other.save("a", SavedView("streams"))
    assert one.remove("slow")
    assert not one.remove("slow")
    assert (one.names(), other.names(), told) == ([], ["a"], [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("bad", [b"{", b"[]", b'{"a": {"b": {"screen": 3}}}', b"\xff"])
def test_a_file_nobody_understands_is_kept_and_told(tmp_path: Path, bad: bytes) -> None:
    told: list[str] = []
    path = tmp_path / "views.json"
    path.write_bytes(bad)
    views = SavedViews("a", told.append, path=path)
    assert views.names() == []
    assert (tmp_path / "views.bad").read_bytes() == bad
    assert "views.bad" in told[0]
    assert views.save("x", SavedView("rpc"))


def test_views_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "file").write_text("")
    assert not SavedViews("a", told.append, path=tmp_path / "file" / "views.json").save("x", SavedView("rpc"))
    assert told


# -- commands


def test_every_command_reads_as_a_part_of_a_sentence() -> None:
    for each in COMMANDS:
        assert each.description[0].islower()
        assert not each.description.endswith(".")
        assert each.name == each.name.lower()


def test_the_longest_name_wins_and_arguments_keep_their_spaces() -> None:
    assert find("chaos disarm")[0].name == "chaos disarm"
    assert find("  save view as  my  own ")[1] == "my  own"
    assert find("filter a  b")[1] == "a  b"
    with pytest.raises(CommandError, match="do you mean theme"):
        find("them")


@pytest.mark.parametrize(
    ("line", "cli"),
    [
        ("go rpc", "liverpc-tui attach ws://h:1 --screen rpc"),
        ("filter a b", "liverpc-tui attach ws://h:1 --filter 'a b'"),
        ("chaos disarm", "liverpc-tui chaos ws://h:1 clear"),
        ("theme light", ":theme light"),
        ("filter", ":filter"),
    ],
)
def test_commands_are_told_as_what_to_type(line: str, cli: str) -> None:
    assert equivalent("ws://h:1", line) == cli


def test_the_log_is_bounded_and_joins_repetitions() -> None:
    log = CommandLog()
    for number in range(600):
        log.add(number, "a", f"x {number}")
    log.add(601, "a", "x 599")
    assert (len(log.entries), log.entries[-1].wall, log.entries[0].cli) == (500, 601, "x 100")


@given(st.text(max_size=8), st.text(max_size=20))
def test_letters_found_are_there_in_their_order(needle: str, text: str) -> None:
    found = score(needle, text)
    rest = iter(text.casefold())
    assert (found is not None) == all(letter in rest for letter in needle.casefold().replace(" ", ""))


def test_the_best_match_comes_first() -> None:
    assert ranked("cd", ["record", "chaos disarm", "code"], str)[0] == "chaos disarm"
    assert ranked("", ["b", "a"], str) == ["b", "a"]
