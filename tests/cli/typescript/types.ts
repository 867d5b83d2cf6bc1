// What the compiler must infer and refuse of a generated client. Compiled, never run.
import { board, ContractPage, LiveError, mailChat, roomsChat, type Dog, type Everything, type Fox, type Sent } from "./client.ts";

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>): void => {};

export async function room(): Promise<void> {
  const page = roomsChat("wss://example.org", { room_id: "general" }, { timeout: 5000, WebSocket });
  const sent = await page.call.send({ text: "hi" });
  same<typeof sent, Sent>(true);
  await page.join.project({ project_id: "p1" });
  await page.join.tenant();
  await page.leave.project();
  const stop = page.on.message((message) => same<typeof message.text, string>(true));
  stop();
  page.onJoinLost(({ room, error }) => console.log(room, error.code));
  const generic: ContractPage = page;
  generic.close();

  // @ts-expect-error: no payload
  await page.call.send();
  // @ts-expect-error: a wrong one
  await page.call.send({ text: 5 });
  // @ts-expect-error: a member too many
  await page.call.send({ text: "hi", room_id: "other" });
  // @ts-expect-error: no such action
  await page.call.shout({ text: "hi" });
  // @ts-expect-error: the server computes the key of this one
  await page.join.tenant({ tenant_id: "t1" });
  // @ts-expect-error: no such event
  page.on.shouted(() => {});
  // @ts-expect-error: not what a message has
  page.on.message((message) => message.subject);
  // @ts-expect-error: keys and frames are no business of pages
  page.request("chat/__open", []);
  // @ts-expect-error: a part of the URL is missing
  roomsChat("wss://example.org", {});
  // @ts-expect-error: and one is too many
  roomsChat("wss://example.org", { room_id: "general", tenant_id: "t1" });
}

export async function shapes(everything: Everything): Promise<void> {
  const page = board("/", { board_id: 5, rest: "a/b" });
  const counts = await page.call["delete-it"]();
  same<typeof counts, Record<string, number>>(true);
  page.on.pet((pet) => (pet.kind === "dog" ? same<typeof pet, Dog>(true) : same<typeof pet, Fox>(true)));
  page.on.counted((counted) => same<typeof counted.count, number>(true)); // what is received is there
  page.on.cleared(() => {});
  await page.join.asked({ zone: "there", pet: { kind: "dog", good: true } });
  same<typeof everything.both, [number, string]>(true);
  same<typeof everything.by_zone, Partial<Record<"here" | "there", number>>>(true);
  // @ts-expect-error: no such member of the enum
  await page.join.asked({ zone: "elsewhere" });
  // @ts-expect-error: a number
  board("/", { board_id: "5", rest: "a" });
}

export async function mail(): Promise<void> {
  const page = mailChat("/", { retryDelay: 1000 });
  try {
    await page.opened();
  } catch (error) {
    if (error instanceof LiveError) same<typeof error.code, string>(true);
  }
}
