// Who the client is, and how it says so: pages can send no header with a WebSocket, so an access token is exchanged for a ticket,
// which is good once, before each connection.

import { WritProblem } from './problem.js';

/** For a ticket, milliseconds. */
const LIMIT = 15_000;

/** A value, or what gives the current one each time that it is needed. */
export type Source = string | (() => string | Promise<string>);

/** By what the client proves who it is; nothing of it: nobody, or an open server. */
export interface Credentials {
  /**
   * An access token or API key. A function is asked before each connection, and for the next token before the present one expires;
   * a text is used as long as it is good.
   */
  token?: Source | undefined;
  /** Of `POST /v1/live/tickets`, by a server of your own say. A text is good for one connection. */
  ticket?: Source | undefined;
  /** The page's cookies, which the browser sends. */
  cookies?: boolean | undefined;
  /** With `cookies`: renews them (`POST /v1/auth/refresh`). Without it the client ends with the session's access token. */
  refresh?: (() => unknown) | undefined;
}

/** What `authenticate` carries. */
export type Renewal = { token: string } | { ticket: string } | 'reconnect' | null;

/** What the credentials give at each step. */
export class Proof {
  readonly #base: URL;
  readonly #credentials: Credentials;
  readonly #fetch: typeof fetch;
  #spent = false;

  constructor(url: string | URL, credentials: Credentials, fetcher: typeof fetch) {
    const page = (globalThis as { location?: { href: string } }).location?.href;
    const base = new URL(url, page);
    base.protocol = base.protocol.replace('ws', 'http');
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.#base = base;
    this.#credentials = credentials;
    this.#fetch = fetcher;
  }

  /** Whether there is another proof once this one is refused. */
  get isRenewable(): boolean {
    const { token, ticket, cookies, refresh } = this.#credentials;
    return typeof token === 'function' || typeof ticket === 'function' || (cookies === true && refresh !== undefined);
  }

  /**
   * Where to connect, with what proves who it is. Rejects with a {@link WritProblem}, or with what the network or a source says.
   * `isStale`: what it was before is refused.
   */
  async address(isStale: boolean): Promise<string> {
    if (isStale) await this.#refresh();
    const url = this.#url('v1/live');
    const ticket = await this.#ticket();
    url.protocol = url.protocol.replace('http', 'ws');
    if (ticket !== null) url.searchParams.set('ticket', ticket);
    return url.href;
  }

  /** The next proof for an open connection. `reconnect`: it is in place, for a new connection. `null`: there is none. */
  async next(): Promise<Renewal> {
    if (!this.isRenewable) return null;
    const { token, ticket } = this.#credentials;
    if (token !== undefined) return { token: await value(token) };
    if (ticket !== undefined) return { ticket: await value(ticket) };
    await this.#refresh();
    return 'reconnect';
  }

  /** Renews the cookies, if they are what proves. */
  async #refresh(): Promise<void> {
    await this.#credentials.refresh?.();
  }

  async #ticket(): Promise<string | null> {
    const { token, ticket } = this.#credentials;
    if (token !== undefined) return this.#exchange(await value(token));
    if (ticket === undefined) return null;
    if (typeof ticket === 'string') {
      if (this.#spent)
        throw WritProblem.ofClient(
          'ticket-spent',
          'The ticket was used',
          'Each is good once: give a function that gets one.',
        );
      this.#spent = true;
    }
    return value(ticket);
  }

  async #exchange(token: string): Promise<string> {
    const headers = { authorization: `Bearer ${token}` };
    const signal = AbortSignal.timeout(LIMIT);
    const url = this.#url('v1/live/tickets');
    const response = await this.#fetch(url, { method: 'POST', headers, credentials: 'omit', signal });
    if (!response.ok) throw await WritProblem.ofResponse(response);
    return ((await response.json()) as { ticket: string }).ticket;
  }

  #url(path: string): URL {
    return new URL(path, this.#base);
  }
}

async function value(source: Source): Promise<string> {
  return typeof source === 'string' ? source : source();
}
