/** What was wrong with a payload, and where in it. */
export interface PageIssue {
  readonly path: readonly string[];
  readonly message: string;
}

/** Why a request failed. Programs compare `code`; `message` is for people and may change. */
export class LiveError extends Error {
  readonly code: string;
  /** Of a `VALIDATION`. */
  readonly issues: readonly PageIssue[];
  /** Milliseconds after which another try makes sense, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(code: string, message: string, issues: readonly PageIssue[] = [], retryAfter?: number) {
    super(message);
    this.name = "LiveError";
    this.code = code;
    this.issues = issues;
    this.retryAfter = retryAfter;
  }
}

/** The part of a WebSocket that a page needs; browsers, Node 22 and the package ws have it. */
export interface PageSocket {
  send(text: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
}

/** Times in milliseconds. */
export interface PageOptions {
  /** How long a request waits for its answer, and for a connection (30 000); `Infinity`: until there is one. */
  timeout?: number;
  /** Before the first attempt to reconnect (3000); then 2.2 times longer each, up to `maxRetryDelay` (300 000). */
  retryDelay?: number;
  maxRetryDelay?: number;
  /** The constructor of sockets, where the global one is missing or must send headers. */
  WebSocket?: new (url: string) => PageSocket;
}

/** `error`: there is a connection, but the server has not opened the contract. `closed` is final. */
export type PageStatus = "connecting" | "connected" | "reconnecting" | "error" | "closed";

/** What became of the rooms that are joined without being asked for. */
export interface PageOpening {
  readonly joined: readonly string[];
  readonly refused: readonly string[];
}

/** A room that was joined, and could not be joined again after a reconnect, or may not be kept. */
export interface LostJoin {
  readonly room: string;
  /** With which it was joined; undefined without one. */
  readonly payload: unknown;
  readonly error: LiveError;
}

interface PendingRequest {
  readonly text: string;
  sent: boolean;
  succeed(data: unknown): void;
  fail(error: LiveError): void;
}

interface JoinWish {
  readonly room: string;
  readonly args: readonly unknown[];
  granted: boolean;
  asking: number; // who waits for an answer
}

/** What a browser has of its own. */
interface PageTarget {
  addEventListener(kind: string, listener: (event: { type: string }) => void): void;
  removeEventListener(kind: string, listener: (event: { type: string }) => void): void;
}

const TERMINAL = [1008, 4401, 4403];
const TOO_MANY = 4429;
const TOO_MANY_ATTEMPTS = 5; // so many count as failed after that code
const TRANSIENT = ["TIMEOUT", "OVERLOADED", "INTERNAL_ERROR"];
const GROWTH = 2.2;
const SILENCE = 150_000; // without a message the connection is lost
const MAX_WAITING = 1000; // requests without an answer
const MAX_DELAY = 2 ** 31 - 1; // a timer with more fires at once
const BROWSER = globalThis as Partial<PageTarget> & { document?: PageTarget & { visibilityState: string } };

/** One contract on a connection of its own, which comes back by itself until the server refuses or it is closed. */
export class ContractPage {
  private readonly contract: string;
  private readonly openArgs: readonly unknown[];
  private readonly url: string;
  private readonly options: PageOptions;
  private readonly waiting = new Map<string, PendingRequest>(); // by id, in the order of the requests
  private readonly wishes = new Map<string, JoinWish>(); // in the order of the joins
  private readonly listeners = new Map<string, Set<(data: any) => void>>();
  private readonly statusListeners = new Set<(status: PageStatus) => void>();
  private readonly lostListeners = new Set<(lost: LostJoin) => void>();
  private socket: PageSocket | undefined;
  private current: PageStatus = "connecting";
  private end: LiveError | undefined;
  private refusal: LiveError | undefined; // of the contract, on this connection
  private lastId = 0;
  private attempts = 0; // that have failed since the last success
  private hurries = false; // instead of waiting for the retry, when something speaks for it
  private automatic: readonly string[] = [];
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private silenceTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(contract: string, pattern: string, url: string, params: object, options: PageOptions) {
    this.contract = contract;
    const parts = Object.fromEntries(Object.entries(params).map(([part, value]) => [part, String(value)]));
    this.openArgs = [parts, pattern];
    this.url = address(url, pattern, parts);
    this.options = options;
    this.dial();
    BROWSER.addEventListener?.("online", this.hurry);
    BROWSER.document?.addEventListener("visibilitychange", this.hurry);
  }

  get status(): PageStatus {
    return this.current;
  }

  /** Why the status is `error` or `closed`; undefined while it is not. */
  get failure(): LiveError | undefined {
    return this.end ?? this.refusal;
  }

  /** Wait for the connection; rejects when the server refuses the page. After an `error`: ask once more. */
  async opened(): Promise<PageOpening> {
    const opening = await this.request<PageOpening>("__open", this.openArgs);
    if (this.current === "error") this.resume(opening);
    return opening;
  }

  /** Be told each new status. Returns what ends that. */
  onStatus(callback: (status: PageStatus) => void): () => void {
    return added(this.statusListeners, callback);
  }

  /** Be told of each room that was joined before a reconnect and is not any more. Returns what ends that. */
  onJoinLost(callback: (lost: LostJoin) => void): () => void {
    return added(this.lostListeners, callback);
  }

  /** End the connection. Requests without an answer, and all later ones, fail with `CONNECTION_CLOSED`. */
  close(): void {
    const socket = this.socket;
    this.finish(new LiveError("CONNECTION_CLOSED", "the page was closed"));
    socket?.close(1000);
  }

  // For the class of each contract.

  protected action<T>(name: string, ...args: readonly unknown[]): Promise<T> {
    return this.request(`__event/${name}`, given(args));
  }

  protected async enter(room: string, ...payload: readonly unknown[]): Promise<void> {
    const args = given(payload);
    const key = keyOf(room, args);
    const wish = this.wishes.get(key) ?? { room, args, granted: false, asking: 0 };
    this.wishes.set(key, wish);
    wish.asking += 1;
    try {
      await this.request(`__join/${room}`, args);
      wish.granted = true;
    } finally {
      wish.asking -= 1;
      if (!wish.granted && !wish.asking && this.wishes.get(key) === wish) this.wishes.delete(key);
    }
  }

  protected async exit(room: string, ...payload: readonly unknown[]): Promise<void> {
    const args = given(payload);
    for (const [key, wish] of this.wishes) {
      if (args.length ? key === keyOf(room, args) : wish.room === room) this.wishes.delete(key);
    }
    await this.request(`__leave/${room}`, args);
  }

  protected listen<T>(event: string, callback: (data: T) => void): () => void {
    const listeners = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, listeners);
    return added(listeners, callback);
  }

  // Requests.

  /** Without a connection it waits for one; its time runs. `now`: it is what others wait for. */
  private request<T>(path: string, args: readonly unknown[], now = false): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.end) throw this.end;
      if (!now && this.waiting.size >= MAX_WAITING) throw new LiveError("QUEUE_FULL", "too many requests wait");
      const id = String(++this.lastId);
      const text = JSON.stringify({ rpc: `${this.contract}/${path}`, id, args });
      const { timeout = 30_000 } = this.options;
      const giveUp = (): void => {
        const what = waiting.sent ? `no answer to ${path} in time` : `${path} was not sent: no connection in time`;
        this.taken(id)?.fail(new LiveError("TIMEOUT", what));
      };
      const timer = timeout > MAX_DELAY ? undefined : setTimeout(giveUp, timeout);
      const waiting: PendingRequest = {
        text,
        sent: false,
        succeed: (data) => (clearTimeout(timer), resolve(data as T)),
        fail: (error) => (clearTimeout(timer), reject(error)),
      };
      this.waiting.set(id, waiting);
      if (now || this.talks()) this.write(waiting);
    });
  }

  private write(waiting: PendingRequest): void {
    if (waiting.sent) return;
    waiting.sent = true;
    this.socket?.send(waiting.text);
  }

  private talks(): boolean {
    return this.current === "connected" || this.current === "error";
  }

  private taken(id: string): PendingRequest | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    return waiting;
  }

  // The connection.

  private dial(): void {
    clearTimeout(this.retryTimer);
    this.hurries = false;
    const Socket = this.options.WebSocket ?? (globalThis as { WebSocket?: new (url: string) => PageSocket }).WebSocket;
    if (!Socket) throw new TypeError("there is no global WebSocket here: pass one with options.WebSocket");
    const socket = new Socket(this.url);
    this.socket = socket;
    // A socket that was given up says nothing any more.
    const mine = <T>(handle: (event: T) => void) => (event: T): void => {
      if (this.socket === socket) handle(event);
    };
    socket.onopen = mine(() => void this.connected(socket));
    socket.onmessage = mine((event: { data: unknown }) => this.received(event.data));
    socket.onclose = mine((event: { code: number; reason: string }) => this.lost(event.code, event.reason));
    socket.onerror = () => {}; // a close follows
    this.watchSilence();
  }

  /** The network is back, or somebody looks at the page: do not wait for the rest of what may be minutes. */
  private readonly hurry = (event: { type: string }): void => {
    if (!this.hurries || (event.type !== "online" && BROWSER.document?.visibilityState !== "visible")) return;
    this.attempts = 0;
    this.dial();
  };

  private watchSilence(): void {
    clearTimeout(this.silenceTimer);
    this.silenceTimer = setTimeout(() => this.drop("the server was silent"), SILENCE);
  }

  /** Give the socket up; there will be another one. */
  private drop(reason: string): void {
    const socket = this.socket;
    if (!socket) return;
    this.lost(1006, reason);
    socket.close();
  }

  /** Open the contract: what waits goes out when that is settled. */
  private async connected(socket: PageSocket): Promise<void> {
    socket.send('{"type":"hello","caps":[]}');
    try {
      const opening = await this.request<PageOpening>("__open", this.openArgs, true);
      if (this.socket === socket) this.resume(opening);
    } catch (error) {
      if (this.socket === socket) this.refused(error as LiveError);
    }
  }

  /** Ask for the rooms that the page had, ahead of all else. The server may take its time with them; calls need not. */
  private resume(opening: PageOpening): void {
    this.attempts = 0;
    this.refusal = undefined;
    const lost = this.automatic.filter((room) => opening.refused.includes(room));
    this.automatic = opening.joined;
    for (const [key, wish] of this.wishes) {
      if (wish.granted) void this.rejoin(key, wish); // the others are among what waits
    }
    this.writeAll("connected");
    const error = new LiveError("JOIN_REJECTED", "the room cannot be joined any more");
    for (const room of lost) {
      if (!this.end) tell(this.lostListeners, { room, payload: undefined, error }); // a listener may close it
    }
  }

  private refused(error: LiveError): void {
    if (TRANSIENT.includes(error.code)) {
      this.drop("the contract was not opened"); // another connection may fare better
    } else {
      this.refusal = error;
      this.writeAll("error"); // whoever asks for something hears from the server
    }
  }

  private writeAll(status: PageStatus): void {
    for (const waiting of this.waiting.values()) this.write(waiting); // ahead of what listeners ask for
    this.setStatus(status);
  }

  private async rejoin(key: string, wish: JoinWish): Promise<void> {
    try {
      await this.request(`__join/${wish.room}`, wish.args, true);
    } catch (caught) {
      const error = caught as LiveError;
      if (!this.socket || error.code === "DISCONNECTED" || this.wishes.get(key) !== wish) return;
      wish.granted = false;
      if (wish.asking) return; // who asks hears of it
      this.wishes.delete(key);
      // It may come to be joined yet.
      if (error.code === "TIMEOUT") this.request(`__leave/${wish.room}`, wish.args, true).catch(() => {});
      tell(this.lostListeners, { room: wish.room, payload: wish.args[0], error });
    }
  }

  private received(message: unknown): void {
    this.watchSilence();
    const frame = parsed(message);
    if (typeof frame?.topic !== "string" || typeof frame.event !== "string") return;
    if (frame.topic === "__rpc") this.answered(frame.event, frame.data);
    else if (frame.topic === `${this.contract}/__client` && frame.event === "__lost") this.takenAway(frame.data);
    else if (frame.topic === `${this.contract}/__client` && frame.event === "__joined")
      this.automatic = [...this.automatic, frame.data.room];
    else if (frame.topic.startsWith(`${this.contract}/`)) tell(this.listeners.get(frame.event), frame.data);
  }

  /** The server does not let the page stay in a room. */
  private takenAway(lost: { room: string; args: unknown[] }): void {
    if (!lost.args.length) this.automatic = this.automatic.filter((room) => room !== lost.room);
    const key = keyOf(lost.room, lost.args);
    if (!this.wishes.get(key)?.asking) this.wishes.delete(key); // who asks hears what is answered
    const error = new LiveError("JOIN_REJECTED", "the room may not be kept");
    tell(this.lostListeners, { room: lost.room, payload: lost.args[0], error });
  }

  private answered(id: string, answer: any): void {
    const waiting = this.taken(id);
    if (answer?.ok === true) {
      waiting?.succeed(answer.data);
    } else {
      const code = answer?.code ?? "UNKNOWN";
      waiting?.fail(new LiveError(code, answer?.error ?? code, answer?.issues, answer?.retryAfter));
    }
  }

  private lost(code: number, reason: string): void {
    this.socket = undefined;
    clearTimeout(this.silenceTimer);
    if (TERMINAL.includes(code)) {
      this.finish(new LiveError("CONNECTION_CLOSED", `the server closed the page: ${code} ${reason}`.trim()));
      return;
    }
    if (code === TOO_MANY) this.attempts = Math.max(this.attempts, TOO_MANY_ATTEMPTS);
    const { retryDelay = 3000, maxRetryDelay = 300_000 } = this.options;
    const delay = Math.min(retryDelay * GROWTH ** this.attempts, maxRetryDelay) * (0.75 + Math.random() / 2);
    this.attempts += 1;
    this.retryTimer = setTimeout(() => this.dial(), Math.min(delay, MAX_DELAY));
    this.hurries = code !== TOO_MANY;
    this.refusal = undefined;
    if (this.talks()) this.setStatus("reconnecting");
    for (const [id, waiting] of this.waiting) {
      if (!waiting.sent) continue;
      this.waiting.delete(id);
      waiting.fail(new LiveError("DISCONNECTED", "the connection was lost before the answer"));
    }
  }

  private finish(error: LiveError): void {
    if (this.end) return;
    this.end = error;
    this.socket = undefined;
    clearTimeout(this.retryTimer);
    clearTimeout(this.silenceTimer);
    BROWSER.removeEventListener?.("online", this.hurry);
    BROWSER.document?.removeEventListener("visibilitychange", this.hurry);
    this.setStatus("closed");
    for (const waiting of this.waiting.values()) waiting.fail(error);
    this.waiting.clear();
  }

  private setStatus(status: PageStatus): void {
    this.current = status;
    tell(this.statusListeners, status);
  }
}

function added<T>(listeners: Set<(data: T) => void>, callback: (data: T) => void): () => void {
  const listener = (data: T): void => callback(data); // another one when a callback is given twice
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Call everybody; one that fails is reported as uncaught and keeps nobody else from hearing it. */
function tell<T>(listeners: ReadonlySet<(data: T) => void> | undefined, data: T): void {
  for (const listener of [...(listeners ?? [])]) {
    try {
      listener(data);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

function parsed(message: unknown): { topic?: unknown; event?: unknown; data?: any } | null {
  try {
    return typeof message === "string" ? JSON.parse(message) : null;
  } catch {
    return null;
  }
}

/** An optional payload that was left out is none. */
function given(args: readonly unknown[]): readonly unknown[] {
  return args.filter((each) => each !== undefined);
}

/** The same for payloads that differ only in the order of their members. */
function keyOf(room: string, args: readonly unknown[]): string {
  const sorted = (_: string, value: unknown): unknown =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value;
  return JSON.stringify([room, ...args], sorted);
}

function address(base: string, pattern: string, parts: Record<string, string>): string {
  const filled = (segment: string): string => {
    const [, name, rest] = /^\{(\w+)(:path)?\}$/.exec(segment) ?? [];
    if (name === undefined) return encodeURIComponent(segment);
    const text = parts[name] ?? "";
    const segments = rest ? text.split("/") : [text];
    // URLs cannot carry them: they would lead elsewhere.
    if (segments.some((each) => ["", ".", ".."].includes(each))) {
      throw new TypeError(`${name} cannot be ${JSON.stringify(text)} in ${pattern}`);
    }
    return segments.map(encodeURIComponent).join("/");
  };
  const path = pattern.split("/").map(filled).join("/");
  const here = (globalThis as { location?: { href: string } }).location?.href;
  const url = new URL(base || "/", here);
  url.protocol = url.protocol.replace("http", "ws");
  url.pathname = url.pathname.replace(/\/+$/, "") + path;
  url.hash = "";
  return url.href;
}
