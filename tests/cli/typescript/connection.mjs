// The client's connection, on a socket that the test plays and timers that it moves.
import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { board, lobby, roomsChat } from "./client.ts";

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
    return this.sent.findLast((frame) => frame.rpc?.endsWith(`/${path}`));
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const last = () => sockets.at(-1);
const chat = (options = {}) => roomsChat("ws://host", { room_id: "general" }, { WebSocket: Socket, ...options });
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
  chat();
  for (const delay of [3000, 6600, 14_520, 31_944, 70_277, 154_609, 300_000, 300_000]) {
    await last().lose();
    const before = sockets.length;
    mock.timers.tick(delay - 1);
    assert.equal(sockets.length, before, `before ${delay}`);
    mock.timers.tick(2);
    assert.equal(sockets.length, before + 1, `after ${delay}`);
  }
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

test("what waits goes out when the rooms are joined again", async () => {
  const page = chat();
  await last().open();
  const joined = page.join.project({ project_id: "a" });
  last().answer(last().request("__join/project"), { ok: true, data: null });
  await joined;
  await last().lose();
  page.call.tell_project({ text: "hi" }).catch(() => {});
  mock.timers.tick(3000);
  await last().open();
  assert.equal(page.status, "reconnecting");
  assert.equal(last().request("__event/tell_project"), undefined);
  last().answer(last().request("__join/project"), { ok: true, data: null });
  await settled();
  assert.equal(page.status, "connected");
  assert.deepEqual(last().request("__event/tell_project").args, [{ text: "hi" }]);
  page.close();
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
  const refused = failsWith(page.opened(), "FORBIDDEN");
  last().onopen({});
  const no = { ok: false, code: "FORBIDDEN", error: "no" };
  last().answer(last().request("__open"), no);
  await settled();
  assert.equal(page.status, "connected"); // another connection would fare no better
  last().answer(last().request("__open"), no);
  await refused;
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
