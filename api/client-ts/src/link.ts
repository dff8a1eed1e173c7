// The connection as those who use it see it: always there, sometimes waiting. Connects, proves who it is, keeps the proof fresh,
// and comes back after a loss; what was under way at that moment is not its business.

import { Backoff, type BackoffOptions } from './backoff.js';
import type { FromServer, ToServer, Welcome } from './messages.js';
import { WritProblem } from './problem.js';
import type { Proof } from './proof.js';
import { type WebSocketConstructor, Wire } from './wire.js';

/** Whether messages go through: `connecting`, `open`, `waiting` for the next attempt, or `closed` for good. */
export type State = 'connecting' | 'open' | 'waiting' | 'closed';

/** Close codes of the server that say more than that the connection is gone. */
const SIGNED_OUT = 4401;
const TOO_MANY = 4429;
/** Refused proofs in a row, after which there is no good one. */
const REFUSALS = 3;
/** The next proof is fetched so long before the present one expires, milliseconds; half of its life if that is short. */
const MARGIN = 30_000;
/** Between two attempts to renew a proof, milliseconds. */
const PAUSE = 5_000;
/** Timers can't wait longer, milliseconds. */
const LONGEST = 2 ** 31 - 1;
/** What browsers tell pages and workers when there is a network again. Elsewhere nobody does. */
const ONLINE = 'online';
const events: Partial<Pick<EventTarget, 'addEventListener' | 'removeEventListener'>> = globalThis as never;
/** After `reconnect`, commands that are under way have so long, milliseconds. */
const DRAIN = 30_000;

/** Whom a link tells. */
export interface Listener {
  /** Messages go through from now on. */
  opened(welcome: Welcome): void;
  message(message: FromServer): void;
  /** They don't any more. */
  lost(code: number): void;
  /** Nor will they ever again. */
  failed(problem: WritProblem): void;
  /** `problem`: why it isn't open. */
  state(state: State, problem?: WritProblem): void;
  /** Whether something waits for an answer on the present connection. */
  isBusy(): boolean;
}

/** A connection that comes back. */
export class Link {
  readonly #make: WebSocketConstructor;
  readonly #proof: Proof;
  readonly #listener: Listener;
  readonly #backoff: Backoff;
  #state: State = 'closed';
  #wire: Wire | null = null;
  /** Of the present attempt: what belongs to an earlier one is passed over. */
  #attempt = 0;
  #openedAt = 0;
  #refusals = 0;
  /** The server has said when to come back. */
  #comeBackAt: number | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;
  #isRenewing = false;
  /** The proof was refused. */
  #isStale = false;

  constructor(make: WebSocketConstructor, proof: Proof, backoff: BackoffOptions | undefined, listener: Listener) {
    this.#make = make;
    this.#proof = proof;
    this.#backoff = new Backoff(backoff);
    this.#listener = listener;
  }

  get state(): State {
    return this.#state;
  }

  /** Whether a message that is sent now goes out now, and somebody will read it. */
  get isOpen(): boolean {
    return this.#state === 'open' && this.#comeBackAt === null;
  }

  send(message: ToServer): void {
    this.#wire?.send(message);
  }

  start(): void {
    void this.#connect();
  }

  /** For good. */
  close(problem?: WritProblem): void {
    this.#leave();
    this.#stopWaiting();
    this.#attempt += 1;
    this.#enter('closed', problem);
  }

  /** Nothing waits for an answer any more: if the server wants to stop, it can. */
  idle(): void {
    if (this.#comeBackAt !== null && this.#wire !== null) this.#lose(1000);
  }

  async #connect(): Promise<void> {
    this.#stopWaiting();
    const attempt = ++this.#attempt;
    this.#enter('connecting');
    let address: string;
    try {
      address = await this.#proof.address(this.#isStale);
      this.#isStale = false;
    } catch (error) {
      if (attempt === this.#attempt) this.#missed(error);
      return;
    }
    if (attempt !== this.#attempt) return;
    try {
      this.#wire = new Wire(this.#make, address, {
        message: (message) => this.#hear(message),
        closed: (code) => this.#lose(code),
      });
    } catch (error) {
      // The constructor refuses addresses, not servers.
      this.#fail(WritProblem.ofClient('address', "The address can't be used", String(error), error));
    }
  }

  /** There is no proof to connect with. */
  #missed(error: unknown): void {
    const isProblem = error instanceof WritProblem;
    const problem = isProblem
      ? error
      : WritProblem.ofClient('unreachable', "The server can't be asked", String(error), error);
    const isRefused = problem.status === 401;
    this.#refusals = isRefused ? this.#refusals + 1 : 0;
    const isFinal = isRefused
      ? !this.#proof.isRenewable || this.#refusals >= REFUSALS
      : isProblem && !problem.isTransient;
    if (isFinal) return this.#fail(problem);
    this.#wait(this.#backoff.next(), problem, true);
  }

  #hear(message: FromServer): void {
    switch (message.type) {
      case 'welcome':
        this.#openedAt = Date.now();
        this.#refusals = 0;
        this.#wire?.watch(message.ping_seconds * 1000);
        this.#expire(message.expires_at);
        this.#enter('open');
        return this.#listener.opened(message);
      case 'authenticated':
        this.#isRenewing = false;
        return this.#expire(message.expires_at);
      case 'reconnect':
        this.#comeBackAt = Date.now() + message.after_ms;
        clearTimeout(this.#renewal);
        this.#renewal = setTimeout(() => this.idle(), message.after_ms + DRAIN);
        if (!this.#listener.isBusy()) this.idle();
        return;
      case 'error':
        // It names nothing, and only this was sent without a name.
        if (this.#isRenewing && message.sub === undefined && message.ref === undefined) {
          this.#isRenewing = false;
          this.#renewal = setTimeout(() => void this.#renew(), PAUSE);
        }
    }
    this.#listener.message(message);
  }

  #lose(code: number): void {
    const wasOpen = this.#state === 'open';
    const comeBackAt = this.#comeBackAt;
    this.#leave();
    if (wasOpen) this.#listener.lost(code);
    // A listener may have closed it.
    if (this.#state === 'closed') return;
    const problem = WritProblem.ofClient('lost', 'The connection is lost', `It was closed with ${code}.`);
    if (code === SIGNED_OUT) {
      if (!this.#proof.isRenewable) return this.#fail(signedOut());
      this.#isStale = true;
    }
    // Who was connected for longer than the next wait may be has not been refused.
    if (wasOpen && Date.now() - this.#openedAt >= this.#backoff.ceiling) this.#backoff.reset();
    const wait = comeBackAt !== null ? Math.max(0, comeBackAt - Date.now()) : this.#backoff.next();
    const isTooMany = code === TOO_MANY;
    this.#wait(isTooMany ? wait + PAUSE : wait, problem, comeBackAt === null && !isTooMany);
  }

  /** `isOwn`: the wait is the client's own, not the server's wish, so a network that comes back ends it. */
  #wait(time: number, problem: WritProblem, isOwn: boolean): void {
    this.#retry = setTimeout(() => void this.#connect(), time);
    if (isOwn) events.addEventListener?.(ONLINE, this.#online);
    this.#enter('waiting', problem);
  }

  readonly #online = (): void => void this.#connect();

  #stopWaiting(): void {
    clearTimeout(this.#retry);
    events.removeEventListener?.(ONLINE, this.#online);
  }

  #fail(problem: WritProblem): void {
    this.close(problem);
    this.#listener.failed(problem);
  }

  /** Takes down what belongs to the present connection. */
  #leave(): void {
    clearTimeout(this.#renewal);
    this.#isRenewing = false;
    this.#comeBackAt = null;
    const wire = this.#wire;
    this.#wire = null;
    wire?.close();
  }

  #enter(state: State, problem?: WritProblem): void {
    this.#state = state;
    this.#listener.state(state, problem);
  }

  /** Plans the renewal of a proof that ends then. */
  #expire(at: string | null): void {
    clearTimeout(this.#renewal);
    if (at === null || !this.#proof.isRenewable) return;
    const left = Date.parse(at) - Date.now();
    // Not at once again, whatever this machine's clock says.
    const wait = Math.max(left - Math.min(MARGIN, left / 2), PAUSE);
    const next = wait > LONGEST ? () => this.#expire(at) : () => void this.#renew();
    this.#renewal = setTimeout(next, Math.min(wait, LONGEST));
  }

  async #renew(): Promise<void> {
    const wire = this.#wire;
    try {
      const next = await this.#proof.next();
      if (wire === null || wire !== this.#wire || next === null || !this.isOpen) return;
      if (next === 'reconnect') {
        this.#comeBackAt = Date.now();
        if (!this.#listener.isBusy()) this.idle();
        else this.#renewal = setTimeout(() => this.idle(), DRAIN);
        return;
      }
      this.#isRenewing = true;
      wire.send({ type: 'authenticate', ...next });
    } catch {
      // Until the proof ends it is tried again; then the server closes, and it is asked for anew.
      if (wire !== null && wire === this.#wire) this.#renewal = setTimeout(() => void this.#renew(), PAUSE);
    }
  }
}

const signedOut = () =>
  WritProblem.ofClient('signed-out', 'Not signed in any more', 'What proved who this is has expired or been revoked.');
