// A server that does what a test says: WebSockets in memory, in place of the global one.

import type { ConnectOptions } from '../../src/index.js';
import { connect, type WritProblem } from '../../src/index.js';
import type { State } from '../../src/link.js';

type Message = Record<string, unknown> & { type: string };

/** The server's end of a connection. */
export class Connection {
  readonly url: string;
  readonly protocol: string;
  /** What the client has sent, and nobody has looked at. */
  readonly inbox: Message[] = [];
  isOpen = true;
  readonly #socket: FakeSocket;

  constructor(socket: FakeSocket, url: string, protocol: string) {
    this.#socket = socket;
    this.url = url;
    this.protocol = protocol;
  }

  tell(...messages: object[]): void {
    for (const message of messages) this.#socket.onmessage?.({ data: JSON.stringify(message) });
  }

  welcome(more: object = {}): void {
    this.tell({ type: 'welcome', connection: 'c', account: 'ada', expires_at: null, ping_seconds: 30, ...more });
  }

  /** The next message, which has to be of this type. */
  heard(type: string): Message {
    const message = this.inbox.shift();
    if (message?.type !== type) throw new Error(`${type} expected: ${JSON.stringify(message)}`);
    return message;
  }

  /** As some do when they can't connect: no `close` follows. */
  fail(): void {
    this.isOpen = false;
    this.#socket.onerror?.({} as never);
  }

  close(code = 1006): void {
    this.isOpen = false;
    this.#socket.onclose?.({ code });
  }
}

class FakeSocket {
  onopen: ((event: never) => unknown) | null = null;
  onmessage: ((event: { data: string }) => unknown) | null = null;
  onerror: ((event: never) => unknown) | null = null;
  onclose: ((event: { code: number }) => unknown) | null = null;
  #connection: Connection;

  constructor(url: string, protocol: string, server: Server) {
    this.#connection = new Connection(this, url, protocol);
    server.connections.push(this.#connection);
  }

  send(data: string): void {
    this.#connection.inbox.push(JSON.parse(data));
  }

  close(): void {
    this.#connection.isOpen = false;
  }
}

/** The connections that were made, and what the client says of itself. */
export class Server {
  readonly connections: Connection[] = [];
  readonly states: State[] = [];
  readonly problems: WritProblem[] = [];

  get connection(): Connection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new Error('no connection was made');
    return last;
  }

  connect(options: Partial<ConnectOptions> = {}) {
    const server = this;
    class Socket extends FakeSocket {
      constructor(url: string, protocol: string) {
        super(url, protocol, server);
      }
    }
    return connect({
      url: 'https://writ.example/base',
      WebSocket: Socket,
      onState: (state, problem) => {
        this.states.push(state);
        if (problem !== undefined) this.problems.push(problem);
      },
      ...options,
    });
  }
}

export const row = (id: string, version = 1) => ({ id, version, state: {}, created_at: '', updated_at: '' });

/** A change as the server sends it, with the number of its event as place. */
export const change = (sub: unknown, id: string, place: number, type = 'change') => ({
  type,
  sub,
  model: 'order',
  id,
  position: `order:0:${place}`,
  resume: `r${place}`,
  ...(type === 'leave' ? {} : { version: place, event: {}, row: row(id, place) }),
});

export const problem = (kind: string, status: number) => ({
  type: `urn:writ:problem:${kind}`,
  title: kind,
  status,
  detail: kind,
});
