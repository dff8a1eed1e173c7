// How to connect, what to follow, and what comes of asking for it: the types around the client.

import type { BackoffOptions } from './backoff.js';
import type { LiveEvent, RowsEvent } from './events.js';
import type { State } from './link.js';
import type {
  ChannelTargetOf,
  ColumnOf,
  EventOf,
  FieldOf,
  FilterOf,
  KeyOf,
  PresenceOf,
  ProjectionFilterOf,
  ProjectionRowOf,
  RowOf,
} from './paths.js';
import type { WritProblem } from './problem.js';
import type { Credentials } from './proof.js';
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

/** Which projection to follow, and what of it. */
export interface FollowOptions<P = unknown, N extends string = string> {
  projection: N;
  /** Only what fits, as in lists. */
  filter?: ProjectionFilterOf<P, N>;
  /** Columns that are shown instead of all. Keys have theirs all the same. */
  fields?: readonly ColumnOf<P, N>[];
  /** As of models. A `resume` stands for the rows as they were: are they others now, a `reset` `changed` and all rows come. */
  from?: 'now' | 'snapshot' | (string & {});
  /** As of models. */
  buffer?: number;
}

/** Which of the channels of a name to join, and how. */
export type ChannelOptions<P = unknown, C extends string = string> = ChannelTargetOf<P, C> & {
  /** What to say of oneself. Without it one is there, and not in the list. */
  state?: Partial<PresenceOf<P, C>> | null;
  /** Events that may wait for a loop; then the oldest are lost, and `missed` says how many. Default 1,000. */
  buffer?: number;
};

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

/** The same of a projection. */
export type FollowedRows<P, N extends string> = Followed & AsyncIterable<RowsEvent<ProjectionRowOf<P, N>, KeyOf<P, N>>>;
