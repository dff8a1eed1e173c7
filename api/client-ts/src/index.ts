// The live feed of a Writ server. `connect` is where it begins.

export type { BackoffOptions } from './backoff.js';
export type { BroadcastOptions, Channel, ChannelEvent } from './channel.js';
export { type Client, connect } from './client.js';
export type { Collection, CollectionListener, RowCollection, RowCollectionListener } from './collection.js';
export type { Answer, CommandOptions } from './commands.js';
export type {
  AnyEvent,
  AnyKey,
  AnyRow,
  Change,
  Enter,
  Handlers,
  Leave,
  LiveEvent,
  Reset,
  RowChange,
  RowLeave,
  RowsEvent,
  RowsHandlers,
  RowsSnapshot,
  Snapshot,
} from './events.js';
export type { State } from './link.js';
export type { Members, MembersEvent, MembersListener } from './members.js';
export type { Broadcast, Member } from './messages.js';
export type {
  ChannelOptions,
  ConnectOptions,
  Followed,
  FollowedEvents,
  FollowedRows,
  FollowOptions,
  SubscribeOptions,
} from './options.js';
export type {
  AnswerOf,
  BroadcastOf,
  ChannelName,
  ChannelTargetOf,
  ColumnOf,
  CommandName,
  EventOf,
  FieldOf,
  FilterOf,
  KeyOf,
  MessageName,
  ModelName,
  PayloadOf,
  PresenceOf,
  ProjectionFilterOf,
  ProjectionName,
  ProjectionRowOf,
  RowOf,
} from './paths.js';
export { type Fault, type ProblemDocument, WritProblem } from './problem.js';
export type { Credentials, Source } from './proof.js';
export type { WebSocketConstructor, WebSocketLike } from './wire.js';
