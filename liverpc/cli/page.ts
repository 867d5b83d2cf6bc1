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
  /** How long a request waits for its answer, and for a connection (30 000). */
  timeout?: number;
  /** Before the first attempt to reconnect (3000); then 2.2 times longer each, up to `maxRetryDelay` (300 000). */
  retryDelay?: number;
  maxRetryDelay?: number;
  /** The constructor of sockets, where the global one is missing or must send headers. */
  WebSocket?: new (url: string) => PageSocket;
}

export type PageStatus = "connecting" | "connected" | "reconnecting" | "closed";

/** What became of the rooms that are joined without being asked for. */
export interface PageOpening {
  readonly joined: readonly string[];
  readonly refused: readonly string[];
}

/** A room that was joined, and could not be joined again after a reconnect. */
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
}

const TERMINAL = [1008, 4401, 4403];
const TOO_MANY = 4429;
const TOO_MANY_ATTEMPTS = 5; // so many count as failed after that code
const TRANSIENT = ["TIMEOUT", "OVERLOADED", "INTERNAL_ERROR"];
const GROWTH = 2.2;
const SILENCE = 150_000; // without a message the connection is lost
const MAX_WAITING = 1000; // requests without an answer

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
  private lastId = 0;
  private attempts = 0; // that have failed since the last success
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
  }

  get status(): PageStatus {
    return this.current;
  }

  /** Why the page is closed for good; undefined while it is not. */
  get failure(): LiveError | undefined {
    return this.end;
  }

  /** Wait for the connection; rejects when the server refuses the page. */
  opened(): Promise<PageOpening> {
    return this.request("__open", this.openArgs);
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
    const wish = this.wishes.get(key) ?? { room, args, granted: false };
    this.wishes.set(key, wish);
    try {
      await this.request(`__join/${room}`, args);
      wish.granted = true;
    } catch (error) {
      if (!wish.granted && this.wishes.get(key) === wish) this.wishes.delete(key);
      throw error;
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
      const timer = setTimeout(() => {
        this.taken(id)?.fail(new LiveError("TIMEOUT", `no answer to ${path} in time`));
      }, this.options.timeout ?? 30_000);
      const waiting: PendingRequest = {
        text,
        sent: false,
        succeed: (data) => (clearTimeout(timer), resolve(data as T)),
        fail: (error) => (clearTimeout(timer), reject(error)),
      };
      this.waiting.set(id, waiting);
      if (now || this.current === "connected") this.write(waiting);
    });
  }

  private write(waiting: PendingRequest): void {
    if (waiting.sent) return;
    waiting.sent = true;
    this.socket?.send(waiting.text);
  }

  private taken(id: string): PendingRequest | undefined {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    return waiting;
  }

  // The connection.

  private dial(): void {
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

  /** Ask for everything the page had; what waits goes out when that is settled, and finds everything as it was. */
  private async connected(socket: PageSocket): Promise<void> {
    socket.send('{"type":"hello","caps":[]}');
    const wishes = [...this.wishes.entries()].filter(([, wish]) => wish.granted); // the others are among what waits
    await Promise.all([this.reopen(), ...wishes.map(([key, wish]) => this.rejoin(key, wish))]);
    if (this.socket !== socket) return;
    for (const waiting of this.waiting.values()) this.write(waiting); // ahead of what listeners ask for
    this.setStatus("connected");
  }

  private async reopen(): Promise<void> {
    try {
      const opening = await this.request<PageOpening>("__open", this.openArgs, true);
      this.attempts = 0;
      const error = new LiveError("JOIN_REJECTED", "the room cannot be joined any more");
      for (const room of this.automatic) {
        if (opening.refused.includes(room)) tell(this.lostListeners, { room, payload: undefined, error });
      }
      this.automatic = opening.joined;
    } catch (error) {
      // Another connection may fare better. Of anything else, whoever asks for something hears.
      if (TRANSIENT.includes((error as LiveError).code)) this.drop("the contract was not opened");
    }
  }

  private async rejoin(key: string, wish: JoinWish): Promise<void> {
    try {
      await this.request(`__join/${wish.room}`, wish.args, true);
    } catch (caught) {
      const error = caught as LiveError;
      if (!this.socket || error.code === "DISCONNECTED" || this.wishes.get(key) !== wish) return;
      this.wishes.delete(key);
      tell(this.lostListeners, { room: wish.room, payload: wish.args[0], error });
    }
  }

  private received(message: unknown): void {
    this.watchSilence();
    const frame = parsed(message);
    if (typeof frame?.topic !== "string" || typeof frame.event !== "string") return;
    if (frame.topic === "__rpc") this.answered(frame.event, frame.data);
    else if (frame.topic.startsWith(`${this.contract}/`)) tell(this.listeners.get(frame.event), frame.data);
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
    this.retryTimer = setTimeout(() => this.dial(), delay);
    if (this.current === "connected") this.setStatus("reconnecting");
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
    this.setStatus("closed");
    for (const waiting of this.waiting.values()) waiting.fail(error);
    this.waiting.clear();
  }

  private setStatus(status: PageStatus): void {
    this.current = status;
    tell(this.statusListeners, status);
  }
}

function added<T>(listeners: Set<T>, listener: T): () => void {
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
  const path = pattern.replace(/\{(\w+)(:path)?\}/g, (_, name: string, rest: string | undefined) => {
    const text = parts[name] ?? "";
    const segments = rest ? text.split("/") : [text];
    // URLs cannot carry them: they would lead elsewhere.
    if (segments.some((each) => ["", ".", ".."].includes(each))) {
      throw new TypeError(`${name} cannot be ${JSON.stringify(text)} in ${pattern}`);
    }
    return segments.map(encodeURIComponent).join("/");
  });
  const here = (globalThis as { location?: { href: string } }).location?.href;
  const url = new URL(base || "/", here);
  url.protocol = url.protocol.replace("http", "ws");
  url.pathname = url.pathname.replace(/\/+$/, "") + path;
  url.hash = "";
  return url.href;
}
