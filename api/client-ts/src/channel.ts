// A channel across connections. It is joined on a connection under a name, or waits: for a connection, for the next attempt. What it
// says of itself goes with every join, so the others see it again after a loss.
//
// What is said while it isn't there is lost, as the server promises no more: `ended` and `joined` say that there was such a time.

import { Backoff } from './backoff.js';
import { Members, type MembersEvent } from './members.js';
import type { Broadcast, OfChannel, OfMember, OfSubscription, ToServer } from './messages.js';
import { type ProblemDocument, WritProblem } from './problem.js';
import { Queue } from './queue.js';

/** Which one, and what to say of oneself. */
export interface Place {
  channel: string;
  id?: string | undefined;
  key?: string | number | boolean | undefined;
  state?: object | null | undefined;
  /** Events that may wait for a loop; then the oldest are lost. Default 1,000. */
  buffer?: number | undefined;
}

/** What happens in a channel. */
export type ChannelEvent<Said = Broadcast, State = Record<string, unknown>> =
  | Said
  | MembersEvent<State>
  /** One is there: at first, and again. `member`: oneself. */
  | { type: 'joined'; member: string }
  /** So many broadcasts are lost, for the server or a loop could not be followed. */
  | { type: 'missed'; count: number }
  /** One isn't there at the moment (`lost`, `failed`), or any more (`permissions`). */
  | { type: 'ended'; reason: 'lost' | 'failed' | 'permissions' };

/** The connection as a channel sees it. */
export interface Desk {
  readonly isOpen: boolean;
  /** Routes what comes under the name that it returns to the channel. */
  enlist(channel: Channel): string;
  send(message: ToServer): void;
  /** Sends what is answered. */
  ask(
    message:
      | Omit<Extract<OfMember, { type: 'broadcast' }>, 'ref'>
      | Omit<Extract<OfMember, { type: 'presence' }>, 'ref'>,
  ): Promise<void>;
  /** Ends what was opened under this name, and routes no more of it. */
  dismiss(name: string): void;
  /** It is over. */
  forget(channel: Channel): void;
}

type Listener<Event> = (event: Event) => void;
type Settle = { resolve: () => void; reject: (error: unknown) => void };

/** How a broadcast is sent. */
export interface BroadcastOptions {
  /** One hears it oneself too. */
  echo?: boolean;
}

/**
 * A place where one is, and where one is again after a loss.
 *
 * `Said`: the broadcasts, told apart by `event`. `State`: what members say of themselves.
 */
export class Channel<Said extends Broadcast<string, unknown> = Broadcast, State = Record<string, unknown>>
  implements AsyncIterable<ChannelEvent<Said, State>>
{
  /** Resolves when one is there for the first time, rejects if that won't be. */
  readonly ready: Promise<void>;
  /** Resolves after `leave`, rejects with what else has ended it. */
  readonly closed: Promise<void>;
  /** Who is there and says something of itself, oneself too. Empty in a channel without presence. */
  readonly members = new Members<State>();
  readonly #desk: Desk;
  readonly #place: Place;
  readonly #backoff = new Backoff();
  readonly #listeners = new Set<Listener<ChannelEvent<Said, State>>>();
  readonly #queues = new Set<Queue<ChannelEvent<Said, State>>>();
  /** What is said of oneself from the next join on. */
  #state: object | null;
  /** The last that the server has taken. */
  #taken: object | null;
  /** What went with the present join. */
  #brought: object | null = null;
  /** `setState`s that the next join answers. */
  #waiting: Settle[] = [];
  #name: string | null = null;
  #member: string | null = null;
  #missed = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #end: { error: unknown } | 'left' | null = null;
  #settleReady!: Settle;
  #settleClosed!: Settle;

  /** @internal */
  constructor(desk: Desk, place: Place) {
    this.#desk = desk;
    this.#place = place;
    this.#state = place.state ?? null;
    this.#taken = this.#state;
    this.ready = new Promise((resolve, reject) => {
      this.#settleReady = { resolve, reject };
    });
    this.closed = new Promise((resolve, reject) => {
      this.#settleClosed = { resolve, reject };
    });
    // Who doesn't ask hears of it by what they do next.
    for (const promise of [this.ready, this.closed]) promise.catch(() => {});
  }

  /** Oneself among the members. `null` while one isn't there. */
  get member(): string | null {
    return this.#member;
  }

  /** Whether one is there at this moment: hears, and can say something. */
  get isJoined(): boolean {
    return this.#member !== null;
  }

  /** Broadcasts that the server says were missed, since the beginning. Those of times when one wasn't there nobody has counted. */
  get missed(): number {
    return this.#missed;
  }

  /**
   * Says something to the others. Resolves when the server has passed it on, which doesn't say that anybody has heard it. It is sent
   * once: while one isn't there it is rejected with `not-joined`, without an answer with `unknown-outcome`.
   */
  broadcast<E extends Said['event']>(
    event: E,
    ...[payload, { echo = false } = {}]: PayloadArguments<Of<Said, E>['payload']>
  ): Promise<void> {
    const sub = this.#name;
    if (sub === null || this.#member === null || !this.#desk.isOpen) return Promise.reject(this.#absent());
    const more = echo ? { echo: true as const } : {};
    return this.#desk.ask({ type: 'broadcast', sub, event, payload: payload as object | undefined, ...more });
  }

  /**
   * All that is said of oneself from now on; `null`: one is there, and not in the list. Resolves when the server has taken it; while
   * one isn't there, with the next join.
   */
  setState(state: Partial<State> | null): Promise<void> {
    if (this.#end) return Promise.reject(this.#absent());
    this.#state = state;
    if (this.#member === null || !this.#desk.isOpen) return this.#withNextJoin();
    return this.#tell(state);
  }

  /** Calls the listener with each broadcast of this event, until the function that it returns is called. */
  on<E extends Said['event']>(event: E, listener: Listener<Of<Said, E>>): () => void {
    return this.subscribe((told) => {
      if (told.type === 'broadcast' && told.event === event) listener(told as Of<Said, E>);
    });
  }

  /** Calls the listener with everything that happens in the channel, until the function that it returns is called. */
  readonly subscribe = (listener: Listener<ChannelEvent<Said, State>>): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** What happens from now on. A loop that is left leaves the channel joined; what else has ended the channel is thrown. */
  [Symbol.asyncIterator](): AsyncIterator<ChannelEvent<Said, State>, undefined> {
    const queue = new Queue<ChannelEvent<Said, State>>(this.#place.buffer ?? 1_000, (count) => ({
      type: 'missed',
      count,
    }));
    if (this.#end) queue.end(this.#end === 'left' ? null : this.#end);
    else this.#queues.add(queue);
    return {
      next: () => queue.next(),
      return: async () => {
        this.#queues.delete(queue);
        queue.end(null);
        return { done: true, value: undefined };
      },
    };
  }

  /** One isn't there any more. */
  leave(): void {
    this.#finish('left');
  }

  /** @internal With the client. */
  close(): void {
    this.leave();
  }

  /** @internal Joins, if that is what is missing. */
  open(): void {
    if (this.#end || this.#name !== null || this.#retry || !this.#desk.isOpen) return;
    const { channel, id, key } = this.#place;
    const sub = this.#desk.enlist(this as unknown as Channel);
    this.#name = sub;
    this.#brought = this.#state;
    this.#desk.send({ type: 'join', sub, channel, id, key, state: this.#state ?? undefined });
  }

  /** @internal The connection is gone. */
  lost(): void {
    this.#absence('lost');
  }

  /** @internal Somebody else is signed in: what one has said of oneself isn't said in their name. */
  void(): void {
    const detail = 'What was said of oneself is not said in the name of another.';
    this.fail(WritProblem.ofClient('other-account', 'Somebody else is signed in now', detail));
  }

  /** @internal */
  hear(message: OfSubscription | OfChannel): void {
    switch (message.type) {
      case 'joined':
        return this.#joined(message);
      case 'broadcast': {
        const { sub: _, ...said } = message;
        return this.#emit(said as unknown as Said);
      }
      case 'presence':
        return this.#emit(this.members.change(message));
      case 'members':
        return this.#emit(this.members.replace(message.members as never));
      case 'missed':
        this.#missed += message.count;
        return this.#emit({ type: 'missed', count: message.count });
      case 'ended':
        return this.#ended(message.reason);
    }
  }

  /** @internal The server has refused the join, or has a fault. */
  refused(document: ProblemDocument): void {
    const problem = new WritProblem(document);
    if (!problem.isTransient) return this.fail(problem);
    this.#absence('failed');
    this.#again();
  }

  /** @internal It can't go on. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  #joined({ member, members }: Extract<OfChannel, { type: 'joined' }>): void {
    this.#backoff.reset();
    this.#member = member;
    this.#taken = this.#brought;
    const waiting = this.#waiting;
    this.#waiting = [];
    // It may have changed while the join was on its way.
    const isTold = this.#state === this.#brought;
    const told = isTold ? Promise.resolve() : this.#tell(this.#state);
    for (const { resolve, reject } of waiting) told.then(resolve, reject);
    told.catch(() => {});
    this.#emit({ type: 'joined', member });
    if (members !== undefined) this.#emit(this.members.replace(members as never));
    this.#settleReady.resolve();
  }

  #ended(reason: string): void {
    if (reason === 'permissions') {
      this.#absence('permissions');
      const detail = 'Who is signed in may not be in this channel any more.';
      return this.fail(WritProblem.ofClient('permissions', 'Not allowed to be there any more', detail));
    }
    this.#absence('failed');
    this.#again();
  }

  /** Says it on the present connection; after a loss the next join does. */
  async #tell(state: object | null): Promise<void> {
    const sub = this.#name as string;
    try {
      await this.#desk.ask({ type: 'presence', sub, state });
    } catch (error) {
      // It went with a connection, and comes with the next join.
      if (error instanceof WritProblem && error.kind === 'unknown-outcome') return this.#withNextJoin();
      // Otherwise each join to come would be refused for it.
      if (this.#state === state) this.#state = this.#taken;
      throw error;
    }
    this.#taken = state;
  }

  #withNextJoin(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#end) return reject(this.#absent());
      this.#waiting.push({ resolve, reject });
    });
  }

  #absence(reason: 'lost' | 'failed' | 'permissions'): void {
    const wasJoined = this.#member !== null;
    this.#name = null;
    this.#member = null;
    this.members.lose(reason === 'permissions');
    if (wasJoined) this.#emit({ type: 'ended', reason });
  }

  #again(): void {
    if (this.#end) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.open();
    }, this.#backoff.next());
  }

  #emit(event: ChannelEvent<Said, State>): void {
    for (const queue of this.#queues) queue.put(event);
    for (const listener of [...this.#listeners]) listener(event);
  }

  #absent(): WritProblem {
    const error = this.#end === 'left' ? null : this.#end?.error;
    if (error instanceof WritProblem) return error;
    return WritProblem.ofClient(
      'not-joined',
      'Not in the channel',
      'Nothing was said. `ready` and `joined` say when it can be.',
    );
  }

  #finish(end: { error: unknown } | 'left'): void {
    if (this.#end) return;
    this.#end = end;
    clearTimeout(this.#retry);
    if (this.#name !== null) this.#desk.dismiss(this.#name);
    this.#name = null;
    this.#member = null;
    this.members.lose(false);
    this.#desk.forget(this as unknown as Channel);
    const waiting = this.#waiting;
    this.#waiting = [];
    const absent = this.#absent();
    for (const { reject } of waiting) reject(absent);
    this.#settleReady.reject(absent);
    if (end === 'left') this.#settleClosed.resolve();
    else this.#settleClosed.reject(end.error);
    for (const queue of this.#queues) queue.end(end === 'left' ? null : end);
    this.#queues.clear();
  }
}

/** The broadcasts of this event. */
export type Of<Said extends Broadcast<string, unknown>, E extends string> = Said extends { event: infer Name }
  ? E extends Name
    ? Said
    : never
  : never;

/** What follows the name of an event: a payload may be left out if nothing has to be in it. */
export type PayloadArguments<Payload> =
  Partial<Record<never, never>> extends Payload
    ? [payload?: Payload, options?: BroadcastOptions]
    : [payload: Payload, options?: BroadcastOptions];
