// The client: one connection, and what goes over it, by the name that each message carries.

import { Acknowledged } from './acknowledged.js';
import { Channel } from './channel.js';
import { Collection, RowCollection } from './collection.js';
import { type Answer, type CommandOptions, Commands } from './commands.js';
import type { Handlers, RowsHandlers } from './events.js';
import { Link, type State } from './link.js';
import type { FromServer, OfChannel, OfSubscription } from './messages.js';
import type {
  ChannelOptions,
  ConnectOptions,
  Followed,
  FollowedEvents,
  FollowedRows,
  FollowOptions,
  SubscribeOptions,
} from './options.js';
import type {
  AnswerOf,
  BroadcastOf,
  ChannelName,
  CommandName,
  CommandOptionsOf,
  EventOf,
  KeyOf,
  ModelName,
  PresenceOf,
  ProjectionName,
  ProjectionRowOf,
  RowOf,
} from './paths.js';
import { closed, type ProblemDocument, WritProblem } from './problem.js';
import { Proof } from './proof.js';
import { Subscription, type Wanted } from './subscription.js';
import type { WebSocketConstructor } from './wire.js';

/** What is open under a name. */
interface Named {
  hear(message: OfSubscription | OfChannel): void;
  refused(document: ProblemDocument): void;
  open(): void;
  lost(): void;
  void(): void;
  close(): void;
  fail(error: unknown): void;
}

type Rest<Options> = Partial<Record<never, never>> extends Options ? [options?: Options] : [options: Options];

/** After an `unsubscribe` that was one message too many, milliseconds. */
const AGAIN = 1_000;

/** A connection to a server, which comes back when it is lost. */
export class Client<P = unknown> {
  readonly #link: Link;
  readonly #commands: Commands;
  readonly #onProblem: ((problem: WritProblem) => void) | undefined;
  /** All that are not over. */
  readonly #all = new Set<Named>();
  readonly #acknowledged: Acknowledged;
  /** Those that are open on the present connection, by name. `null`: its end is on the way. */
  readonly #named = new Map<string, Named | null>();
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
      isBusy: () => commands().isBusy || this.#acknowledged.isBusy,
    });
    const link = this.#link;
    const idle = () => {
      if (!this.#commands.isBusy && !this.#acknowledged.isBusy) link.idle();
    };
    this.#acknowledged = new Acknowledged({ send: (message) => link.send(message), idle }, messageLimit);
    this.#commands = new Commands(
      {
        get isOpen() {
          return link.isOpen;
        },
        send: (message) => link.send(message),
        idle,
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
    return this.#follow(wanted(model, options as SubscribeOptions), handlers as Handlers | null) as never;
  }

  /** Follows the rows of an SQL projection. With handlers it begins at once. */
  follow<N extends ProjectionName<P> & string>(options: FollowOptions<P, N>): FollowedRows<P, N>;
  follow<N extends ProjectionName<P> & string>(
    options: FollowOptions<P, N>,
    handlers: RowsHandlers<ProjectionRowOf<P, N>, KeyOf<P, N>>,
  ): Followed;
  follow(options: unknown, handlers: unknown = null): never {
    return this.#follow(wantedRows(options as FollowOptions), handlers as Handlers | null) as never;
  }

  /** A copy of the rows that fit, which keeps itself up to date. */
  collection<M extends ModelName<P> & string>(
    model: M,
    options?: Omit<SubscribeOptions<P, M>, 'from' | 'buffer'>,
  ): Collection<RowOf<P, M>>;
  /** The same of a projection. */
  collection<N extends ProjectionName<P> & string>(
    options: Omit<FollowOptions<P, N>, 'from' | 'buffer'>,
  ): RowCollection<ProjectionRowOf<P, N>, KeyOf<P, N>>;
  collection(of: unknown, options: unknown = {}): never {
    const from = 'snapshot';
    if (typeof of === 'string') {
      const what = wanted(of, { ...(options as SubscribeOptions), from });
      return new Collection((handlers) => this.#follow(what, handlers)) as never;
    }
    const what = wantedRows({ ...(of as FollowOptions), from });
    return new RowCollection((handlers) => this.#follow(what, handlers as Handlers)) as never;
  }

  /**
   * Joins a channel, and joins it again after each loss, until it is left or the server says that one may not be there.
   */
  channel<C extends ChannelName<P> & string>(
    channel: C,
    ...[options]: Rest<ChannelOptions<P, C>>
  ): Channel<BroadcastOf<P, C>, PresenceOf<P, C>> {
    const joined = new Channel(this.#desk(), { ...(options as ChannelOptions), channel });
    this.#add(joined);
    return joined as never;
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

  #follow(what: Wanted, handlers: Handlers | null): Subscription {
    const subscription = new Subscription(this.#desk(), what, handlers);
    this.#add(subscription);
    return subscription;
  }

  /** The connection as what is open on it sees it. */
  #desk() {
    const link = this.#link;
    return {
      get isOpen() {
        return link.isOpen;
      },
      enlist: (one: Named) => {
        this.#names += 1;
        const name = String(this.#names);
        this.#named.set(name, one);
        return name;
      },
      send: link.send.bind(link),
      ask: this.#acknowledged.send.bind(this.#acknowledged),
      dismiss: (name: string) => {
        this.#named.set(name, null);
        link.send({ type: 'unsubscribe', sub: name });
      },
      forget: (one: Named) => void this.#all.delete(one),
    };
  }

  #add(one: Named): void {
    if (this.#link.state === 'closed') return one.fail(closed());
    this.#all.add(one);
    one.open();
  }

  #opened(account: string | null): void {
    const isOther = this.#account !== undefined && this.#account !== account;
    this.#account = account;
    // What one has asked for isn't done in the name of another, nor seen by them.
    if (isOther) this.#commands.fail(otherAccount());
    for (const one of [...this.#all]) {
      if (isOther) one.void();
      one.open();
    }
    this.#commands.open();
  }

  #lost(code?: number): void {
    this.#named.clear();
    this.#names = 0;
    for (const one of [...this.#all]) one.lost();
    this.#acknowledged.lost();
    this.#commands.lost(code);
  }

  #hear(message: FromServer): void {
    switch (message.type) {
      case 'answer':
        return this.#commands.answer(message);
      case 'error':
        if (message.ref !== undefined && this.#acknowledged.has(message.ref))
          return this.#acknowledged.refused(message.ref, message.problem);
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
      case 'joined':
      case 'broadcast':
      case 'presence':
      case 'members':
      case 'missed':
        this.#named.get(message.sub)?.hear(message);
        return;
      case 'ended':
        return this.#ended(message);
      case 'sent':
        return this.#acknowledged.sent(message.ref);
    }
  }

  #ended(message: OfSubscription): void {
    const one = this.#named.get(message.sub);
    this.#named.delete(message.sub);
    one?.hear(message);
  }

  #refused(name: string, problem: WritProblem): void {
    const one = this.#named.get(name);
    if (one === null && problem.isTransient) {
      const link = this.#link;
      setTimeout(() => {
        if (this.#named.get(name) === null && link.isOpen) link.send({ type: 'unsubscribe', sub: name });
      }, AGAIN);
      return;
    }
    this.#named.delete(name);
    one?.refused(problem);
  }

  #end(problem: WritProblem | null): void {
    this.#lost();
    for (const one of [...this.#all]) {
      if (problem === null) one.close();
      else one.fail(problem);
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

function wanted(model: string, { id, filter, fields, from = 'now', buffer = 1_000 }: SubscribeOptions): Wanted {
  return { model, id, filter, fields: fields?.join(','), from, buffer };
}

function wantedRows({ projection, filter, fields, from = 'now', buffer = 1_000 }: FollowOptions): Wanted {
  return { projection, id: undefined, filter, fields: fields?.join(','), from, buffer };
}
