// One WebSocket from its opening to its end: reads and writes messages, and notices when the other side is gone. Knows nothing of
// what they mean.

import { type FromServer, PROTOCOL, type ToServer } from './messages.js';

/** What is used of a WebSocket: the global one of browsers and of Node.js has it, and that of `ws`. */
export interface WebSocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
}

/** Makes one. */
export type WebSocketConstructor = new (url: string, protocols: string) => WebSocketLike;

/** Closed without a word, as RFC 6455 numbers it. */
const LOST = 1006;
/** From the start until the first message, milliseconds. */
const OPENING = 15_000;
/** For an answer to a ping, milliseconds. */
const ANSWER = 10_000;

/** Whom a wire tells. `closed` is the last. */
export interface Listener {
  message(message: FromServer): void;
  closed(code: number): void;
}

/** An open, or opening, WebSocket. */
export class Wire {
  readonly #socket: WebSocketLike;
  #listener: Listener | null;
  #timer: ReturnType<typeof setTimeout>;
  /** Milliseconds of silence, after which the server is asked for a sign. */
  #quiet = 0;
  #heardAt = 0;

  constructor(make: WebSocketConstructor, url: string, listener: Listener) {
    this.#listener = listener;
    const socket = new make(url, PROTOCOL);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.#end(LOST), OPENING);
    socket.onmessage = (event: { data: unknown }) => this.#hear(event.data);
    // A code would follow that says no more than this; in some versions of Node.js nothing follows.
    socket.onerror = () => this.#end(LOST);
    socket.onclose = (event: { code: number }) => this.#end(event.code);
  }

  /** Sends a message; what the socket has no room for it keeps. */
  send(message: ToServer): void {
    if (this.#listener !== null) this.#socket.send(JSON.stringify(message));
  }

  /** Pings after so much silence, from now on. Pages can't see the server's own pings. */
  watch(quiet: number): void {
    this.#quiet = quiet;
    this.#wait(quiet);
  }

  /** Closes it. The listener hears no more of it. */
  close(): void {
    this.#listener = null;
    this.#end(LOST);
  }

  #hear(data: unknown): void {
    const listener = this.#listener;
    if (listener === null) return;
    this.#heardAt = Date.now();
    let message: FromServer;
    try {
      message = JSON.parse(data as string) as FromServer;
    } catch {
      return this.#end(LOST);
    }
    listener.message(message);
  }

  /** Looks after this time whether something was heard; `asked`: a ping is on its way. */
  #wait(time: number, asked = false): void {
    clearTimeout(this.#timer);
    const began = Date.now();
    this.#timer = setTimeout(() => {
      if (asked && this.#heardAt < began) return this.#end(LOST);
      const left = this.#heardAt + this.#quiet - Date.now();
      if (left > 0) return this.#wait(left);
      this.send({ type: 'ping' });
      this.#wait(ANSWER, true);
    }, time);
  }

  #end(code: number): void {
    clearTimeout(this.#timer);
    const listener = this.#listener;
    this.#listener = null;
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    // Not null: `ws` throws what nobody hears, such as that it was closed before it was open.
    this.#socket.onerror = () => {};
    // Not awaited: a peer that is gone would be waited for in vain.
    this.#socket.close();
    listener?.closed(code);
  }
}
