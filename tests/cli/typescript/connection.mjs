// The client's connection, on a socket that the test plays and timers that it moves.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { board, ContractPage, lobby, roomsChat } from "./client.ts";

let sockets;

class Socket {
  constructor(url) {
    this.url = url;
    this.sent = [];
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.closed = code ?? "closed";
  }

  hear(frame) {
    this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  answer(request, answer) {
    this.hear({ topic: "__rpc", event: request.id, data: { id: request.id, ...answer } });
  }

  /** Connect, and open the contract. */
  open(opening = { joined: [], refused: [] }) {
    this.onopen({});
    const request = this.request("__open");
    if (opening) this.answer(request, { ok: true, data: opening });
    return settled();
  }

  lose(code = 1006, reason = "") {
    this.onclose({ code, reason });
    return settled();
  }

  request(path) {
    return this.requests(path).at(-1);
  }

  requests(path) {
    return this.sent.filter((frame) => frame.rpc?.endsWith(`/${path}`));
  }
}

const yes = { ok: true, data: null };
const no = { ok: false, code: "JOIN_REJECTED", error: "no" };

const settled = () => new Promise((resolve) => setImmediate(resolve));
const last = () => sockets.at(-1);
const chat = (options = {}) => roomsChat("ws://host", { room_id: "general" }, { WebSocket: Socket, ...options });
const joined = async (page, payload) => {
  const done = page.join.project(payload);
  last().answer(last().request("__join/project"), yes);
  await done;
};
/** Lose the connection, and have the next one. */
const reconnect = async (opening) => {
  await last().lose();
  mock.timers.tick(3000);
  await last().open(opening);
};
const failsWith = (promise, code) => assert.rejects(promise, { name: "LiveError", code });

beforeEach(() => {
  sockets = [];
  mock.restoreAll();
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  mock.method(Math, "random", () => 0.5); // no jitter
});

test("a page connects to the URL of its contract, says hello and opens it", async () => {
  const page = chat();
  assert.equal(page.status, "connecting");
  await last().open();
  assert.equal(page.status, "connected");
  assert.equal(last().url, "ws://host/rooms/general");
  assert.deepEqual(last().sent[0], { type: "hello", caps: [] });
  assert.deepEqual(last().sent[1], { rpc: "chat/__open", id: "1", args: [{ room_id: "general" }, "/rooms/{room_id}"] });
});

test("parts of the URL are encoded, and those that a URL cannot carry refused", () => {
  board("https://host/app/?token=t#x", { board_id: 7, rest: "a b/c?" }, { WebSocket: Socket });
  assert.equal(last().url, "wss://host/app/boards/7/a%20b/c%3F?token=t");
  roomsChat("ws://host", { room_id: "a/b ü" }, { WebSocket: Socket });
  assert.equal(last().url, "ws://host/rooms/a%2Fb%20%C3%BC");
  for (const room_id of ["", ".", ".."]) {
    assert.throws(() => roomsChat("ws://host", { room_id }, { WebSocket: Socket }), /room_id cannot be/);
  }
  assert.throws(() => board("ws://host", { board_id: 7, rest: "a/../b" }, { WebSocket: Socket }), /rest cannot be/);
  assert.throws(() => lobby("/", { WebSocket: Socket }), TypeError); // there is no page that it could be relative to
});

test("what of a pattern is not in braces is encoded, too", () => {
  class Elsewhere extends ContractPage {}
  new Elsewhere("x", "/caf\u00e9 100%/{a}/b?c#d", "ws://host", { a: 1 }, { WebSocket: Socket });
  assert.equal(last().url, "ws://host/caf%C3%A9%20100%25/1/b%3Fc%23d");
});

test("in a browser a URL is relative to the page's", () => {
  globalThis.location = { href: "https://example.org/some/page?q=1#top" };
  try {
    for (const url of ["", "/"]) {
      lobby(url, { WebSocket: Socket });
      assert.equal(last().url, "wss://example.org/lobby");
    }
    lobby("/app", { WebSocket: Socket });
    assert.equal(last().url, "wss://example.org/app/lobby");
  } finally {
    delete globalThis.location;
  }
});

test("without a WebSocket there is a clear error", () => {
  const original = globalThis.WebSocket;
  globalThis.WebSocket = undefined;
  try {
    assert.throws(() => lobby("ws://host"), /options.WebSocket/);
  } finally {
    globalThis.WebSocket = original;
  }
});

test("requests wait for the connection, and go out behind the opening", async () => {
  const page = chat();
  const sent = page.call.send({ text: "hi" });
  page.onStatus(() => page.call.tell_project({ text: "behind" }).catch(() => {}));
  await last().open();
  const request = last().request("__event/send");
  assert.deepEqual(request.args, [{ text: "hi" }]);
  assert.ok(last().sent.indexOf(request) < last().sent.indexOf(last().request("__event/tell_project")));
  assert.ok(last().sent.indexOf(request) > last().sent.indexOf(last().request("__open")));
  last().answer(request, { ok: true, data: { id: "7" } });
  assert.deepEqual(await sent, { id: "7" });
});

test("a refused request has code, message, issues and time", async () => {
  const page = chat();
  await last().open();
  const sent = page.call.send({ text: 5 });
  const issues = [{ path: ["text"], message: "Expected `str`" }];
  last().answer(last().request("__event/send"), { ok: false, code: "VALIDATION", error: "no", issues, retryAfter: 5 });
  await assert.rejects(sent, { code: "VALIDATION", message: "no", issues, retryAfter: 5 });
  const bare = page.call.send({ text: "x" });
  last().answer(last().request("__event/send"), { ok: false });
  await assert.rejects(bare, { code: "UNKNOWN", message: "UNKNOWN", issues: [], retryAfter: undefined });
});

test("a request without an answer fails in time, and a late answer is ignored", async () => {
  const page = chat({ timeout: 1000 });
  await last().open();
  const sent = page.call.send({ text: "hi" });
  mock.timers.tick(1000);
  await failsWith(sent, "TIMEOUT");
  last().answer(last().request("__event/send"), { ok: true, data: 1 });
});

test("a request that was never sent says so", async () => {
  const page = chat({ timeout: 1000 });
  const sent = page.call.send({ text: "hi" });
  mock.timers.tick(1000);
  await assert.rejects(sent, { code: "TIMEOUT", message: "__event/send was not sent: no connection in time" });
});

for (const timeout of [Infinity, 2 ** 31]) {
  test(`with a timeout of ${timeout} a request waits as long as timers go`, async () => {
    const delays = [];
    const original = setTimeout;
    mock.method(globalThis, "setTimeout", (task, delay) => (delays.push(delay), original(task, delay)));
    const page = chat({ timeout, retryDelay: timeout, maxRetryDelay: timeout });
    await last().open();
    const sent = page.call.send({ text: "hi" });
    mock.timers.tick(140_000);
    const failed = failsWith(sent, "DISCONNECTED"); // and not before, with TIMEOUT
    await last().lose();
    await failed;
    assert.equal(Math.max(...delays), 2 ** 31 - 1); // with one more, a timer would fire at once
    page.close();
  });
}

test("a lost connection fails what was sent and keeps what was not", async () => {
  const page = chat();
  await last().open();
  const sent = page.call.send({ text: "lost" });
  const failed = failsWith(sent, "DISCONNECTED");
  await last().lose();
  await failed;
  const kept = page.call.send({ text: "kept" });
  mock.timers.tick(3000);
  assert.equal(sockets.length, 2);
  await last().open();
  last().answer(last().request("__event/send"), { ok: true, data: "ok" });
  assert.equal(await kept, "ok");
});

test("with a thousand requests waiting the next one is refused", async () => {
  const page = chat();
  for (let n = 0; n < 1000; n += 1) page.call.send({ text: "x" }).catch(() => {});
  await failsWith(page.call.send({ text: "x" }), "QUEUE_FULL");
  await last().open(); // what the page itself asks for is not refused
  assert.equal(last().sent.length, 2 + 1000);
  page.close();
});

for (const code of [1008, 4401, 4403]) {
  test(`${code} ends the page`, async () => {
    const page = chat();
    await last().open();
    const failed = failsWith(page.call.send({ text: "hi" }), "CONNECTION_CLOSED");
    await last().lose(code, "go away");
    await failed;
    assert.equal(page.status, "closed");
    assert.match(page.failure.message, new RegExp(`${code} go away`));
    await failsWith(page.call.send({ text: "hi" }), "CONNECTION_CLOSED");
    mock.timers.tick(1_000_000);
    assert.equal(sockets.length, 1);
  });
}

for (const code of [1000, 1001, 1005, 1006, 1011, 1013, 4000]) {
  test(`after ${code} the page comes back`, async () => {
    const page = chat();
    await last().open();
    await last().lose(code);
    assert.equal(page.status, "reconnecting");
    mock.timers.tick(2999);
    assert.equal(sockets.length, 1);
    mock.timers.tick(1);
    assert.equal(sockets.length, 2);
    await last().open();
    assert.equal(page.status, "connected");
  });
}

test("each failed attempt makes the next pause longer, up to a limit; a success starts over", async () => {
  const page = chat();
  const statuses = [];
  page.onStatus((status) => statuses.push(status));
  await last().open();
  for (const delay of [3000, 6600, 14_520, 31_944, 70_277, 154_609, 300_000, 300_000]) {
    await last().lose();
    const before = sockets.length;
    mock.timers.tick(delay - 1);
    assert.equal(sockets.length, before, `before ${delay}`);
    mock.timers.tick(2);
    assert.equal(sockets.length, before + 1, `after ${delay}`);
  }
  assert.deepEqual(statuses, ["connected", "reconnecting"]);
  await last().open();
  await last().lose();
  const before = sockets.length;
  mock.timers.tick(3000);
  assert.equal(sockets.length, before + 1);
});

test("4429 counts as five failed attempts", async () => {
  chat();
  await last().open();
  await last().lose(4429);
  mock.timers.tick(154_608);
  assert.equal(sockets.length, 1);
  mock.timers.tick(1);
  assert.equal(sockets.length, 2);
});

test("pauses have jitter of a quarter", async () => {
  for (const [random, delay] of [[0, 2250], [0.999999, 3750]]) {
    mock.method(Math, "random", () => random);
    chat();
    await last().lose();
    const before = sockets.length;
    mock.timers.tick(delay - 2);
    assert.equal(sockets.length, before);
    mock.timers.tick(2);
    assert.equal(sockets.length, before + 1);
  }
});

test("a server that is silent for 150 s is given up, and any frame counts", async () => {
  const page = chat();
  await last().open();
  mock.timers.tick(149_000);
  last().hear({ type: "ping" });
  mock.timers.tick(149_999);
  assert.equal(page.status, "connected");
  mock.timers.tick(1);
  assert.equal(page.status, "reconnecting");
  assert.equal(last().closed, "closed");
});

test("unknown frames are ignored", async () => {
  const page = chat();
  const heard = [];
  page.on.message((message) => heard.push(message));
  await last().open();
  const strange = ["", "no json", "null", "5", "[]", "{}", '{"type":"welcome"}', '{"type":"batch","events":[]}'];
  strange.push('{"topic":"__rpc","event":"nobody","data":null}', '{"topic":"other/chat","event":"message","data":1}');
  strange.push('{"topic":"chat/chat","event":"unheard","data":1}', '{"topic":"__rpc","event":5}');
  for (const text of strange) last().hear(text);
  last().onmessage({ data: new ArrayBuffer(3) });
  last().hear({ topic: "chat/chat", event: "message", data: "it", seq: 1 });
  assert.deepEqual(heard, ["it"]);
});

test("listeners can be taken away, and one that fails keeps nobody else from hearing", async () => {
  const page = chat();
  const heard = [];
  const later = []; // an uncaught exception would end the test run
  mock.method(globalThis, "queueMicrotask", (task) => later.push(task));
  page.on.message(() => {
    throw new Error("of the listener");
  });
  const stop = page.on.message((message) => heard.push(message));
  await last().open();
  last().hear({ topic: "chat/__client", event: "message", data: 1 });
  assert.throws(() => later.forEach((task) => task()), /of the listener/);
  stop();
  assert.deepEqual(heard, [1]);
  page.close();
});

test("a callback that was registered twice is called twice, and each registration ends by itself", async () => {
  const page = chat();
  const heard = [];
  const callback = (message) => heard.push(message);
  const stop = page.on.message(callback);
  page.on.message(callback);
  await last().open();
  last().hear({ topic: "chat/chat", event: "message", data: 1 });
  stop();
  stop();
  last().hear({ topic: "chat/chat", event: "message", data: 2 });
  assert.deepEqual(heard, [1, 1, 2]);
});

test("rooms that were asked for are asked for again, in their order, without those that were left or refused", async () => {
  const page = chat();
  await last().open();
  const join = async (room, payload, answer = { ok: true, data: null }) => {
    const joined = page.join[room](payload).catch((error) => error.code);
    last().answer(last().request(`__join/${room}`), answer);
    return joined;
  };
  await join("project", { project_id: "b" });
  await join("project", { project_id: "a" });
  await join("tenant");
  await join("project", { project_id: "a" }); // joining again changes nothing
  assert.equal(await join("project", { project_id: "z" }, { ok: false, code: "JOIN_REJECTED", error: "no" }), "JOIN_REJECTED");
  await join("project", { project_id: "c" });
  const again = { ok: false, code: "OVERLOADED", error: "busy" };
  assert.equal(await join("project", { project_id: "a" }, again), "OVERLOADED"); // it is in that room all the same
  page.leave.project({ project_id: "c" }).catch(() => {});
  assert.deepEqual(last().request("__leave/project").args, [{ project_id: "c" }]);
  await last().lose();
  mock.timers.tick(3000);
  await last().open();
  assert.deepEqual(
    last().sent.slice(2).map(({ rpc, args }) => [rpc, ...args]),
    [
      ["chat/__join/project", { project_id: "b" }],
      ["chat/__join/project", { project_id: "a" }],
      ["chat/__join/tenant"],
    ],
  );
});

test("after a reconnect what waits goes out behind the joins, and does not wait for their answers", async () => {
  const page = chat();
  const statuses = [];
  await last().open();
  await joined(page, { project_id: "a" });
  page.onStatus((status) => statuses.push(status));
  await last().lose();
  const told = page.call.tell_project({ text: "hi" });
  mock.timers.tick(3000);
  last().onopen({});
  await settled();
  assert.equal(last().sent.length, 2); // hello and __open: what follows needs its answer
  last().answer(last().request("__open"), { ok: true, data: { joined: [], refused: [] } });
  await settled();
  assert.deepEqual(
    last().sent.slice(2).map(({ rpc }) => rpc),
    ["chat/__join/project", "chat/__event/tell_project"],
  );
  assert.deepEqual(statuses, ["reconnecting", "connected"]);
  last().answer(last().request("__event/tell_project"), yes);
  assert.equal(await told, null);
  page.close();
});

test("a room that is asked for without a connection is asked for once", async () => {
  const page = chat();
  page.join.project({ project_id: "a" }).catch(() => {});
  await last().open();
  assert.equal(last().requests("__join/project").length, 1);
  page.close();
});

test("a connection that is lost while the contract is opened leaves everything as it was", async () => {
  const page = chat({ timeout: Infinity });
  const sent = page.call.send({ text: "hi" });
  const statuses = [];
  page.onStatus((status) => statuses.push(status));
  last().onopen({});
  await last().lose(); // before the answer
  assert.equal(page.failure, undefined);
  mock.timers.tick(3000);
  last().onopen({});
  last().answer(last().request("__open"), { ok: true, data: { joined: [], refused: [] } });
  await last().lose(); // with it
  assert.deepEqual(statuses, []);
  mock.timers.tick(30_000);
  await last().open();
  assert.deepEqual(statuses, ["connected"]);
  last().answer(last().request("__event/send"), yes);
  await sent;
  page.close();
});

test("of two that ask for one room, the second may be let in", async () => {
  const page = chat();
  await last().open();
  const both = [page.join.project({ project_id: "a" }), page.join.project({ project_id: "a" })];
  const failed = failsWith(both[0], "JOIN_REJECTED");
  const [first, second] = last().requests("__join/project");
  last().answer(first, no);
  await failed;
  last().answer(second, yes);
  await both[1];
  await reconnect();
  assert.deepEqual(last().request("__join/project").args, [{ project_id: "a" }]);
});

test("a room that is asked for while it is refused again is that of who asks", async () => {
  for (const [answer, kept] of [[yes, 1], [no, 0]]) {
    const page = chat();
    const lost = [];
    page.onJoinLost(({ room }) => lost.push(room));
    await last().open();
    await joined(page, { project_id: "a" });
    await reconnect();
    const asked = page.join.project({ project_id: "a" }).catch((error) => error.code);
    const [again, own] = last().requests("__join/project");
    last().answer(again, no);
    await settled();
    last().answer(own, answer);
    assert.equal(await asked, answer.ok ? undefined : "JOIN_REJECTED");
    assert.deepEqual(lost, []);
    await reconnect();
    assert.equal(last().requests("__join/project").length, kept);
    page.close();
  }
});

test("a room that is left while it is asked for again is not reported", async () => {
  const page = chat();
  const lost = [];
  page.onJoinLost(({ room }) => lost.push(room));
  await last().open();
  await joined(page, { project_id: "a" });
  await reconnect();
  page.leave.project().catch(() => {});
  last().answer(last().request("__join/project"), no);
  await settled();
  assert.deepEqual(lost, []);
});

test("a room of which nothing is heard after a reconnect is lost, and left in case it comes to be joined", async () => {
  const page = chat({ timeout: 1000 });
  const lost = [];
  page.onJoinLost(({ room, error }) => lost.push([room, error.code]));
  await last().open();
  await joined(page, { project_id: "a" });
  await reconnect();
  mock.timers.tick(1000);
  await settled();
  assert.deepEqual(lost, [["project", "TIMEOUT"]]);
  assert.deepEqual(last().request("__leave/project").args, [{ project_id: "a" }]);
  mock.timers.tick(1000);
  await settled();
  assert.equal(page.status, "connected");
});

test("a room that is refused after a reconnect is reported and not asked for again", async () => {
  const page = chat();
  const lost = [];
  page.onJoinLost(({ room, payload, error }) => lost.push([room, payload, error.code]));
  await last().open({ joined: ["chat"], refused: [] });
  const joined = page.join.project({ project_id: "a" });
  last().answer(last().request("__join/project"), { ok: true, data: null });
  await joined;
  await last().lose();
  mock.timers.tick(3000);
  await last().open({ joined: [], refused: ["chat"] });
  last().answer(last().request("__join/project"), { ok: false, code: "JOIN_REJECTED", error: "no" });
  await settled();
  assert.deepEqual(lost, [
    ["chat", undefined, "JOIN_REJECTED"],
    ["project", { project_id: "a" }, "JOIN_REJECTED"],
  ]);
  await last().lose();
  mock.timers.tick(3000);
  await last().open({ joined: [], refused: ["chat"] });
  assert.equal(last().request("__join/project"), undefined);
  assert.equal(lost.length, 2);
});

test("a payload with its members in another order is the same wish", async () => {
  const page = board("ws://host", { board_id: 1, rest: "x" }, { WebSocket: Socket });
  await last().open();
  const joined = page.join.asked({ name: "n", note: "m" });
  last().answer(last().request("__join/asked"), { ok: true, data: null });
  await joined;
  page.leave.asked({ note: "m", name: "n" }).catch(() => {});
  await last().lose();
  mock.timers.tick(3000);
  await last().open();
  assert.equal(last().request("__join/asked"), undefined);
});

test("a server that cannot open the contract just now is tried again on another connection", async () => {
  const page = chat();
  last().onopen({});
  last().answer(last().request("__open"), { ok: false, code: "OVERLOADED", error: "busy" });
  await settled();
  assert.equal(page.status, "connecting");
  assert.equal(last().closed, "closed");
  mock.timers.tick(3000);
  assert.equal(sockets.length, 2);
  await last().open();
  assert.equal(page.status, "connected");
});

test("a contract that the server does not open keeps its rooms for the next time", async () => {
  const page = chat();
  const lost = [];
  page.onJoinLost(({ room }) => lost.push(room));
  await last().open({ joined: ["chat"], refused: [] });
  await joined(page, { project_id: "a" });
  await last().lose();
  const sent = page.call.send({ text: "hi" });
  mock.timers.tick(3000);
  last().onopen({});
  const refused = { ok: false, code: "UNAUTHENTICATED", error: "who are you?" };
  last().answer(last().request("__open"), refused);
  await settled();
  assert.equal(page.status, "error");
  assert.equal(page.failure.code, "UNAUTHENTICATED");
  assert.equal(last().request("__join/project"), undefined);
  assert.deepEqual(lost, []);
  last().answer(last().request("__event/send"), { ok: false, code: "NOT_FOUND", error: "not open" });
  await failsWith(sent, "NOT_FOUND"); // who asks hears from the server
  const opened = failsWith(page.opened(), "UNAUTHENTICATED");
  last().answer(last().request("__open"), refused);
  await opened;
  await last().lose();
  assert.equal(page.status, "reconnecting");
  assert.equal(page.failure, undefined);
  mock.timers.tick(30_000);
  await last().open({ joined: [], refused: ["chat"] });
  assert.equal(page.status, "connected");
  assert.deepEqual(last().request("__join/project").args, [{ project_id: "a" }]);
  assert.deepEqual(lost, ["chat"]);
  page.close();
});

test("a contract that was not opened can be asked for on the same connection", async () => {
  const page = chat();
  last().onopen({});
  last().answer(last().request("__open"), { ok: false, code: "FORBIDDEN", error: "no" });
  await settled();
  assert.equal(page.status, "error");
  const opened = page.opened();
  last().answer(last().request("__open"), { ok: true, data: { joined: ["chat"], refused: [] } });
  assert.deepEqual(await opened, { joined: ["chat"], refused: [] });
  assert.equal(page.status, "connected");
  assert.equal(page.failure, undefined);
  page.close();
});

/** What of a browser says that it is worthwhile to try again. */
function browser() {
  const events = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: "hidden" });
  const mine = { addEventListener: events.addEventListener.bind(events), document };
  mine.removeEventListener = events.removeEventListener.bind(events);
  const before = Object.fromEntries(Object.keys(mine).map((name) => [name, globalThis[name]]));
  Object.assign(globalThis, mine);
  return {
    online: () => events.dispatchEvent(new Event("online")),
    visible: (visibilityState) => {
      document.visibilityState = visibilityState;
      document.dispatchEvent(new Event("visibilitychange"));
    },
    leave: () => Object.entries(before).forEach(([name, value]) => {
      if (value === undefined) delete globalThis[name];
      else globalThis[name] = value;
    }),
  };
}

test("in a browser a page that waits tries at once when there is a network again, or somebody looks", async () => {
  const { online, visible, leave } = browser();
  try {
    const page = chat();
    for (const news of [online, () => visible("visible")]) {
      await last().open();
      for (let n = 0; n < 6; n += 1) {
        await last().lose();
        for (const before = sockets.length; n < 5 && sockets.length === before; ) mock.timers.tick(1000);
      }
      const before = sockets.length;
      visible("hidden");
      assert.equal(sockets.length, before);
      news();
      assert.equal(sockets.length, before + 1);
      news(); // one is under way
      mock.timers.tick(140_000);
      assert.equal(sockets.length, before + 1);
      await last().lose(); // if that was too early, the pauses start over
      mock.timers.tick(3000);
      assert.equal(sockets.length, before + 2);
    }
    await last().open();
    await last().lose(4429); // the server asked for a pause
    const before = sockets.length;
    online();
    assert.equal(sockets.length, before);
    while (sockets.length === before) mock.timers.tick(1000);
    await last().lose();
    page.close();
    online();
    visible("visible");
    mock.timers.tick(1_000_000);
    assert.equal(sockets.length, before + 1);
  } finally {
    leave();
  }
});

test("a page that is closed by who hears that it is back says nothing more", async () => {
  const page = chat();
  const lost = [];
  await last().open({ joined: ["chat"], refused: [] });
  page.onJoinLost(({ room }) => lost.push(room));
  page.onStatus((status) => status === "connected" && page.close());
  await reconnect({ joined: [], refused: ["chat"] });
  assert.equal(page.status, "closed");
  assert.deepEqual(lost, []);
});

test("closing fails what waits, says goodbye and is final", async () => {
  const page = chat();
  const statuses = [];
  page.onStatus((status) => statuses.push(status));
  await last().open();
  const failed = failsWith(page.call.send({ text: "hi" }), "CONNECTION_CLOSED");
  page.close();
  page.close();
  await failed;
  assert.equal(last().closed, 1000);
  await last().lose(1000);
  mock.timers.tick(1_000_000);
  assert.equal(sockets.length, 1);
  assert.deepEqual(statuses, ["connected", "closed"]);
});
