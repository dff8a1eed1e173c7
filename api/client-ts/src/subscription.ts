// A subscription across connections. It is open on a connection under a name, or waits: for a connection, for its consumer, for
// the next attempt. `#from` is where it goes on, and lies behind everything that came in; so a loss costs and repeats nothing.
//
// Each subscribe has a name of its own, so what still comes for an earlier one is told apart.

import { Backoff } from './backoff.js';
import type { Handlers } from './events.js';
import { Inbox, type Told } from './inbox.js';
import type { OfSubscription, ToServer } from './messages.js';
import { type ProblemDocument, WritProblem } from './problem.js';

/** What is followed. */
export interface Wanted {
  /** This or `projection`. */
  model?: string | undefined;
  projection?: string | undefined;
  id: string | undefined;
  filter: Record<string, string | number | boolean> | undefined;
  fields: string | undefined;
  from: string;
  /** Events that may wait for the consumer; then the server is told to stop, until half of them are taken. */
  buffer: number;
}

/** The connection as a subscription sees it. */
export interface Desk {
  readonly isOpen: boolean;
  /** Routes what comes under the name that it returns to the subscription. */
  enlist(subscription: Subscription): string;
  send(message: ToServer): void;
  /** Ends what was opened under this name, and routes no more of it. */
  dismiss(name: string): void;
  /** It is over. */
  forget(subscription: Subscription): void;
}

/** Where to begin, of which there is nothing to go on from. */
const BEGINNINGS = ['now', 'snapshot'];

type Waiting = { resolve: (result: IteratorResult<Told, undefined>) => void; reject: (error: unknown) => void };

/** Something that is followed. */
export class Subscription implements AsyncIterable<Told> {
  /** Resolves when somebody has closed it, rejects with what else has ended it. */
  readonly closed: Promise<void>;
  readonly #desk: Desk;
  readonly #wanted: Wanted;
  readonly #inbox: Inbox;
  readonly #handlers: Handlers | null;
  readonly #backoff = new Backoff();
  #from: string;
  #name: string | null = null;
  /** The rows of a snapshot that isn't complete. `null`: none is expected. */
  #rows: unknown[] | null = null;
  /** Those of the rows of a projection. */
  #keys: unknown[] = [];
  #isFull = false;
  /** An iterable begins when it is asked for the first event. */
  #isWanted: boolean;
  #isPumping = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #waiting: Waiting[] = [];
  #end: { error: unknown } | 'closed' | null = null;
  #settle!: { resolve: () => void; reject: (error: unknown) => void };

  constructor(desk: Desk, wanted: Wanted, handlers: Handlers | null) {
    this.#desk = desk;
    this.#wanted = wanted;
    this.#handlers = handlers;
    this.#from = wanted.from;
    this.#isWanted = handlers !== null;
    this.#inbox = new Inbox(BEGINNINGS.includes(wanted.from) ? null : wanted.from);
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    // Who doesn't ask hears of it by the handlers or the iterator.
    this.closed.catch(() => {});
  }

  /**
   * Where another subscription to the same goes on behind all that was taken from this one: keep it with what you made of the
   * events, give it as `from`, and nothing is missed or repeated. `null` as long as there is no such place.
   */
  get resume(): string | null {
    return this.#inbox.resume;
  }

  /** No more of it. Events that wait are dropped. */
  close(): void {
    this.#finish('closed');
  }

  /** What waits, and then what comes. */
  [Symbol.asyncIterator](): AsyncIterator<Told, undefined> {
    if (this.#handlers !== null) throw new TypeError('This subscription has handlers, which take its events.');
    return {
      next: () => this.#next(),
      // The event at which the loop was left may not be done: an error leaves it in the same way.
      return: async () => {
        this.close();
        return { done: true, value: undefined };
      },
    };
  }

  /** @internal Subscribes, if that is what is missing. */
  open(): void {
    if (this.#end || this.#name !== null || !this.#isWanted || this.#isFull || this.#retry || !this.#desk.isOpen)
      return;
    const { model, projection, id, filter, fields } = this.#wanted;
    const sub = this.#desk.enlist(this);
    this.#name = sub;
    this.#rows = this.#from === 'snapshot' ? [] : null;
    this.#keys = [];
    this.#desk.send({ type: 'subscribe', sub, model, projection, id, filter, fields, from: this.#from });
  }

  /** @internal The connection is gone. */
  lost(): void {
    this.#name = null;
  }

  /** @internal Somebody else is signed in, or may see something else: what came before is void. */
  void(): void {
    if (!BEGINNINGS.includes(this.#from)) this.#reset('permissions');
  }

  /** @internal */
  hear(message: OfSubscription): void {
    switch (message.type) {
      case 'subscribed':
      case 'progress':
        this.#backoff.reset();
        this.#from = message.resume;
        this.#inbox.advance(message.resume);
        return;
      case 'snapshot':
        this.#rows?.push(...message.rows);
        this.#keys.push(...(message.keys ?? []));
        return;
      case 'ready':
        return this.#ready(message.resume);
      case 'reset':
        this.#rows = [];
        this.#keys = [];
        return this.#reset(message.reason);
      case 'enter':
      case 'change':
      case 'leave': {
        const { sub: _, ...event } = message;
        this.#from = message.resume;
        return this.#put(event as Told, message.resume);
      }
      case 'ended':
        return this.#ended(message.reason);
    }
  }

  /** @internal The server has refused it, or has a fault. */
  refused(document: ProblemDocument): void {
    const problem = new WritProblem(document);
    if (!problem.isTransient) return this.fail(problem);
    this.#name = null;
    this.#again();
  }

  /** @internal It can't go on. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  #ready(resume: string): void {
    this.#backoff.reset();
    this.#from = resume;
    const rows = this.#rows;
    this.#rows = null;
    if (rows === null) return this.#inbox.advance(resume);
    const keys = this.#wanted.projection === undefined ? {} : { keys: this.#keys };
    this.#keys = [];
    this.#put({ type: 'snapshot', rows, ...keys, resume } as Told, resume);
  }

  #reset(reason: string): void {
    this.#from = 'snapshot';
    this.#put({ type: 'reset', reason }, null);
  }

  #ended(reason: string): void {
    this.#name = null;
    // Not twice, if there was no snapshot in between.
    if (reason === 'permissions' && this.#from !== 'snapshot') this.#reset(reason);
    if (reason === 'failed') this.#again();
    else this.open();
  }

  #again(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.open();
    }, this.#backoff.next());
  }

  #put(event: Told, resume: string | null): void {
    this.#inbox.put(event, resume);
    if (this.#handlers !== null) void this.#pump(this.#handlers);
    else this.#hand();
    if (this.#inbox.length < this.#wanted.buffer || this.#end) return;
    this.#isFull = true;
    if (this.#name !== null) this.#desk.dismiss(this.#name);
    this.#name = null;
  }

  /** Gives events to the handlers, one after the other. */
  async #pump(handlers: Handlers): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      for (let event = this.#take(); event !== undefined; event = this.#take()) {
        // Handlers that return nothing are called at once, in the order of the messages.
        const done = (handlers[event.type] as ((event: Told) => unknown) | undefined)?.(event);
        if (done instanceof Promise) await done;
        this.#inbox.taken();
        if (this.#end) return;
      }
    } catch (error) {
      this.fail(error);
    } finally {
      this.#isPumping = false;
    }
  }

  async #next(): Promise<IteratorResult<Told, undefined>> {
    this.#isWanted = true;
    const answer = new Promise<IteratorResult<Told, undefined>>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
    this.#hand();
    this.open();
    return answer;
  }

  /** Gives events to those who wait at the iterator. */
  #hand(): void {
    while (this.#waiting.length > 0) {
      const event = this.#end ? undefined : this.#take();
      if (event === undefined && !this.#end) return;
      const { resolve, reject } = this.#waiting.shift() as Waiting;
      if (event !== undefined) resolve({ done: false, value: event });
      else if (this.#end === 'closed') resolve({ done: true, value: undefined });
      else {
        const { error } = this.#end as { error: unknown };
        this.#end = 'closed';
        reject(error);
      }
    }
  }

  #take(): Told | undefined {
    const event = this.#inbox.next();
    if (this.#isFull && this.#inbox.length <= this.#wanted.buffer / 2) {
      this.#isFull = false;
      this.open();
    }
    return event;
  }

  #finish(end: { error: unknown } | 'closed'): void {
    if (this.#end) return;
    this.#end = end;
    clearTimeout(this.#retry);
    this.#inbox.clear();
    if (this.#name !== null) this.#desk.dismiss(this.#name);
    this.#name = null;
    this.#desk.forget(this);
    if (end === 'closed') this.#settle.resolve();
    else {
      this.#settle.reject(end.error);
      this.#handlers?.error?.(end.error);
    }
    this.#hand();
  }
}
