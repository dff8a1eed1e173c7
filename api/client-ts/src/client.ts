// The client: one connection, and what goes over it, by the name that each message carries.

import type { BackoffOptions } from './backoff.js';
import { Collection } from './collection.js';
import { type Answer, type CommandOptions, Commands } from './commands.js';
import type { Handlers, LiveEvent } from './events.js';
import { Link, type State } from './link.js';
import type { FromServer, OfSubscription } from './messages.js';
import type { AnswerOf, CommandName, CommandOptionsOf, EventOf, FieldOf, FilterOf, ModelName, RowOf } from './paths.js';
import { closed, WritProblem } from './problem.js';
import { type Credentials, Proof } from './proof.js';
import { Subscription, type Wanted } from './subscription.js';
import type { WebSocketConstructor } from './wire.js';

/** How to connect. */
export interface ConnectOptions extends Credentials {
  /** Of the server: `https://writ.example`; in a page also `/`. */
  url: string | URL;
  /** Hears of each change of the connection, and why it isn't open. */
  onState?: (state: State, problem?: WritProblem) => void;
  /** Hears of problems that belong to no subscription and no command. */
  onProblem?: (problem: WritProblem) => void;
  backoff?: BackoffOptions;
  /** Most commands that are sent and not answered (`http.live.max_commands` of the server); others wait. Default 16. */
  maxCommands?: number;
  /** The largest message that the server takes (`http.live.message_limit`), bytes. Default 65,536. */
  messageLimit?: number;
  /** In place of the global one: that of `ws`, say. */
  WebSocket?: WebSocketConstructor;
  /** In place of the global one, for tickets. */
  fetch?: typeof fetch;
}

/** What to follow. */
export interface SubscribeOptions<P = unknown, M extends string = string> {
  /** Only this one, by its id or natural key. */
  id?: string;
  /** Only what fits, as in lists. */
  filter?: FilterOf<P, M>;
  /** Fields that are shown instead of all; parts of them (`ship_to.city`) too. */
  fields?: readonly (FieldOf<P, M> | `${FieldOf<P, M>}.${string}`)[];
  /** `now` (default): what happens from now on; `snapshot`: all rows first; or the `resume` of an earlier event. */
  from?: 'now' | 'snapshot' | (string & {});
  /** Events that may wait for a slow consumer; then the server is told to stop for a while. Default 1,000. */
  buffer?: number;
}

/** Something that is followed. Without handlers it is an iterable, which begins when it is asked for the first event. */
export interface Followed {
  /** Resolves when it was closed, rejects with what else has ended it. */
  readonly closed: Promise<void>;
  /**
   * Where another subscription to the same goes on behind all that was taken from this one. An event is taken once its handler is
   * done, or the loop asks for the next. `null` as long as there is no such place.
   */
  readonly resume: string | null;
  close(): void;
}

/** The same as an iterable. */
export type FollowedEvents<P, M extends string> = Followed & AsyncIterable<LiveEvent<RowOf<P, M>, EventOf<P, M>>>;

type Rest<Options> = Partial<Record<never, never>> extends Options ? [options?: Options] : [options: Options];

/** After an `unsubscribe` that was one message too many, milliseconds. */
const AGAIN = 1_000;

/** A connection to a server, which comes back when it is lost. */
export class Client<P = unknown> {
  readonly #link: Link;
  readonly #commands: Commands;
  readonly #onProblem: ((problem: WritProblem) => void) | undefined;
  /** All that are not over. */
  readonly #all = new Set<Subscription>();
  /** Those that are open on the present connection, by name. `null`: its end is on the way. */
  readonly #named = new Map<string, Subscription | null>();
  #names = 0;
  #account: string | null | undefined;

  /** @internal */
  constructor(options: ConnectOptions) {
    const { maxCommands = 16, messageLimit = 65_536, backoff, onState, onProblem } = options;
    const make = options.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
    if (make === undefined) throw new TypeError('There is no global WebSocket here: give one as `WebSocket`.');
    const proof = new Proof(options.url, options, options.fetch ?? ((...request) => globalThis.fetch(...request)));
    this.#onProblem = onProblem;
    const commands = () => this.#commands;
    this.#link = new Link(make, proof, backoff, {
      opened: ({ account }) => this.#opened(account),
      message: (message) => this.#hear(message),
      lost: (code) => this.#lost(code),
      failed: (problem) => this.#end(problem),
      state: (state, problem) => onState?.(state, problem),
      isBusy: () => commands().isBusy,
    });
    const link = this.#link;
    this.#commands = new Commands(
      {
        get isOpen() {
          return link.isOpen;
        },
        send: (message) => link.send(message),
        idle: () => link.idle(),
      },
      maxCommands,
      messageLimit,
    );
    link.start();
  }

  get state(): State {
    return this.#link.state;
  }

  /** Follows what happens to the rows of a model. With handlers it begins at once. */
  subscribe<M extends ModelName<P> & string>(model: M, options?: SubscribeOptions<P, M>): FollowedEvents<P, M>;
  subscribe<M extends ModelName<P> & string>(
    model: M,
    options: SubscribeOptions<P, M>,
    handlers: Handlers<RowOf<P, M>, EventOf<P, M>>,
  ): Followed;
  subscribe(model: string, options: unknown = {}, handlers: unknown = null): never {
    // The overloads say what it is to callers.
    return this.#follow(model, options as SubscribeOptions, handlers as Handlers | null) as never;
  }

  /** A copy of the rows that fit, which keeps itself up to date. */
  collection<M extends ModelName<P> & string>(
    model: M,
    options: Omit<SubscribeOptions<P, M>, 'from' | 'buffer'> = {},
  ): Collection<RowOf<P, M>> {
    const wanted = { ...(options as SubscribeOptions), from: 'snapshot' };
    const collection = new Collection((handlers) => this.#follow(model, wanted, handlers));
    return collection as unknown as Collection<RowOf<P, M>>;
  }

  /**
   * Sends a command. Resolves with its answer, rejects with a {@link WritProblem}. While there is no connection it waits; one whose
   * connection was lost is sent again with the same idempotency key, so it is done once.
   */
  command<M extends ModelName<P> & string, C extends CommandName<P, M>>(
    model: M,
    command: C,
    ...[options]: Rest<CommandOptionsOf<P, M, C>>
  ): Promise<AnswerOf<P, M, C>> {
    if (this.#link.state === 'closed') return Promise.reject(closed());
    const answer: Promise<Answer> = this.#commands.run(model, command, (options ?? {}) as CommandOptions);
    return answer as Promise<AnswerOf<P, M, C>>;
  }

  /** Ends everything: subscriptions close, commands without an answer are rejected. */
  close(): void {
    this.#link.close();
    this.#end(null);
  }

  #follow(model: string, options: SubscribeOptions, handlers: Handlers | null): Subscription {
    const { id, filter, fields, from = 'now', buffer = 1_000 } = options;
    const wanted: Wanted = { model, id, filter, fields: fields?.join(','), from, buffer };
    const link = this.#link;
    const desk = {
      get isOpen() {
        return link.isOpen;
      },
      enlist: (subscription: Subscription) => {
        this.#names += 1;
        const name = String(this.#names);
        this.#named.set(name, subscription);
        return name;
      },
      send: link.send.bind(link),
      dismiss: (name: string) => {
        this.#named.set(name, null);
        link.send({ type: 'unsubscribe', sub: name });
      },
      forget: (subscription: Subscription) => void this.#all.delete(subscription),
    };
    const subscription = new Subscription(desk, wanted, handlers);
    if (link.state === 'closed') {
      subscription.fail(closed());
      return subscription;
    }
    this.#all.add(subscription);
    subscription.open();
    return subscription;
  }

  #opened(account: string | null): void {
    const isOther = this.#account !== undefined && this.#account !== account;
    this.#account = account;
    // What one has asked for isn't done in the name of another, nor seen by them.
    if (isOther) this.#commands.fail(otherAccount());
    for (const subscription of [...this.#all]) {
      if (isOther) subscription.void();
      subscription.open();
    }
    this.#commands.open();
  }

  #lost(code?: number): void {
    this.#named.clear();
    this.#names = 0;
    for (const subscription of [...this.#all]) subscription.lost();
    this.#commands.lost(code);
  }

  #hear(message: FromServer): void {
    switch (message.type) {
      case 'answer':
        return this.#commands.answer(message);
      case 'error':
        if (message.ref !== undefined) return this.#commands.refused(message.ref, message.problem);
        if (message.sub !== undefined) return this.#refused(message.sub, new WritProblem(message.problem));
        this.#onProblem?.(new WritProblem(message.problem));
        return;
      case 'subscribed':
      case 'snapshot':
      case 'ready':
      case 'progress':
      case 'reset':
      case 'enter':
      case 'change':
      case 'leave':
        this.#named.get(message.sub)?.hear(message);
        return;
      case 'ended':
        return this.#ended(message);
    }
  }

  #ended(message: OfSubscription): void {
    const subscription = this.#named.get(message.sub);
    this.#named.delete(message.sub);
    subscription?.hear(message);
  }

  #refused(name: string, problem: WritProblem): void {
    const subscription = this.#named.get(name);
    if (subscription === null && problem.isTransient) {
      const link = this.#link;
      setTimeout(() => {
        if (this.#named.get(name) === null && link.isOpen) link.send({ type: 'unsubscribe', sub: name });
      }, AGAIN);
      return;
    }
    this.#named.delete(name);
    subscription?.refused(problem);
  }

  #end(problem: WritProblem | null): void {
    this.#lost();
    for (const subscription of [...this.#all]) {
      if (problem === null) subscription.close();
      else subscription.fail(problem);
    }
    this.#commands.fail(problem ?? closed());
  }
}

/**
 * Connects to a server.
 *
 * `P` is the `paths` that openapi-typescript makes of the server's `/openapi.json`; without it models are texts, rows are records.
 */
export function connect<P = unknown>(options: ConnectOptions): Client<P> {
  return new Client<P>(options);
}

const otherAccount = () =>
  WritProblem.ofClient(
    'other-account',
    'Somebody else is signed in now',
    'It may have been done, if it was sent before; it is not sent again.',
  );
