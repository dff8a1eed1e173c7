// The live feed of a Writ server. `connect` is where it begins.

export type { BackoffOptions } from './backoff.js';
export {
  type Client,
  type ConnectOptions,
  connect,
  type Followed,
  type FollowedEvents,
  type SubscribeOptions,
} from './client.js';
export type { Collection, CollectionListener } from './collection.js';
export type { Answer, CommandOptions } from './commands.js';
export type { AnyEvent, AnyRow, Change, Enter, Handlers, Leave, LiveEvent, Reset, Snapshot } from './events.js';
export type { State } from './link.js';
export type { AnswerOf, CommandName, EventOf, FieldOf, FilterOf, ModelName, RowOf } from './paths.js';
export { type Fault, type ProblemDocument, WritProblem } from './problem.js';
export type { Credentials, Source } from './proof.js';
export type { WebSocketConstructor, WebSocketLike } from './wire.js';
