// A page against a server at the URL given; what happens goes to standard output, a JSON list a line.
import { LiveError, roomsChat } from "./client.ts";

declare const process: { argv: string[] };

const say = (...what: unknown[]): void => console.log(JSON.stringify(what));

async function tried(what: string, request: Promise<unknown>): Promise<void> {
  try {
    say(what, await request);
  } catch (error) {
    say(what, (error as LiveError).code);
  }
}

const page = roomsChat(process.argv[2] ?? "", { room_id: "a/b ü" }, { retryDelay: 20, timeout: 10_000 });
let restarted = (): void => {};
page.onStatus((status) => {
  say("status", status);
  if (status === "connected") restarted();
});
page.onJoinLost(({ room, payload, error }) => say("lost", room, payload, error.code));
page.on.message((message) => say("message", message.room_id, message.text));
page.on.note((text) => say("note", text));

await tried("opened", page.opened());
await tried("sent", page.call.send({ text: "hi" }));
await tried("apollo", page.join.project({ project_id: "apollo" }));
await tried("hermes", page.join.project({ project_id: "hermes" }));
await tried("zeus", page.join.project({ project_id: "zeus" }));
await tried("tenant", page.join.tenant());
await tried("told", page.call.tell_project({ text: "both" }));

const back = new Promise<void>((resolve) => (restarted = resolve));
say("restart");
await back;
await tried("told", page.call.tell_project({ text: "again" }));
await tried("left", page.leave.project({ project_id: "apollo" }));
await tried("told", page.call.tell_project({ text: "nobody is there" }));
page.close();
await tried("closed", page.call.send({ text: "too late" }));
