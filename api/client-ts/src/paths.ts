// What the types that openapi-typescript makes of a server's `/openapi.json` say of models, rows, events and commands. `P` is its
// `paths`; `unknown` stands for no such types, and then everything is a text or a record.

import type { Answer, CommandOptions } from './commands.js';
import type { AnyEvent, AnyKey, AnyRow } from './events.js';
import type { Broadcast } from './messages.js';

type Json<Response> = Response extends { content: { 'application/json': infer Body } } ? Body : never;
type Responses<Operation> = Operation extends { responses: infer All } ? All : never;
type Get<P, K extends keyof P> = P[K] extends { get: infer Operation } ? Operation : never;
type Post<P, K extends keyof P> = P[K] extends { post: infer Operation }
  ? Operation extends object
    ? Operation
    : never
  : never;
type Ok<Operation> =
  Responses<Operation> extends infer All
    ? { [Status in keyof All]: Status extends 200 | 201 ? Json<All[Status]> : never }[keyof All]
    : never;
type List<P, K extends keyof P> = Ok<Get<P, K>> extends { items: (infer Row)[] } ? Row : never;

/** The names of the models. */
export type ModelName<P> = unknown extends P
  ? string
  : {
      [K in keyof P]: K extends `/v1/${infer Name}`
        ? Name extends `${string}/${string}`
          ? never
          : [List<P, K>] extends [never]
            ? never
            : List<P, K> extends { id: string; version: number; state: object }
              ? Name
              : never
        : never;
    }[keyof P];

type ListPath<P, M extends string> = `/v1/${M}` & keyof P;

/** A row of a model, as lists show it. */
export type RowOf<P, M extends string> = unknown extends P
  ? AnyRow
  : Omit<List<P, ListPath<P, M>>, 'expanded'> & { id: string };

type Creating<P, M extends string> = {
  [K in keyof P as K extends `/v1/${M}/${infer Command}`
    ? Command extends `${string}/${string}` | '{id}'
      ? never
      : Command
    : never]: Post<P, K>;
};
type Changing<P, M extends string> = {
  [K in keyof P as K extends `/v1/${M}/{id}/${infer Command}`
    ? [Post<P, K>] extends [never]
      ? never
      : Command
    : never]: Post<P, K>;
};
type Operations<P, M extends string> = Creating<P, M> & Changing<P, M>;

/** The commands of a model. */
export type CommandName<P, M extends string> = unknown extends P ? string : keyof Operations<P, M> & string;

type Operation<P, M extends string, C extends string> = C extends keyof Operations<P, M> ? Operations<P, M>[C] : never;

type Input<O> = O extends { requestBody?: infer Body } ? Json<NonNullable<Body>> : never;

/** What a command takes. */
export type CommandOptionsOf<P, M extends string, C extends string> = unknown extends P
  ? CommandOptions
  : Omit<CommandOptions, 'id' | 'input'> &
      (C extends keyof Changing<P, M> ? { id: string } : { id?: never }) &
      (Partial<Record<never, never>> extends Input<Operation<P, M, C>>
        ? { input?: Input<Operation<P, M, C>> }
        : { input: Input<Operation<P, M, C>> });

/** What a command answers. */
export type AnswerOf<P, M extends string, C extends string> = Answer<
  unknown extends P
    ? { id: string; version: number; state: AnyRow['state'] | null; events: AnyEvent[] }
    : Ok<Operation<P, M, C>>
>;

type Emitted<P, M extends string> = {
  [C in keyof Operations<P, M>]: Ok<Operations<P, M>[C]> extends { events: (infer Event)[] } ? Event : never;
}[keyof Operations<P, M>];

/** The events of a model, told apart by `type`; any, where only the server sends its commands. */
export type EventOf<P, M extends string> = unknown extends P
  ? AnyEvent
  : [Emitted<P, M>] extends [never]
    ? AnyEvent
    : Emitted<P, M>;

/** Parameters of a list that are no filters, or can't be followed. */
type NoFilter = 'sort' | 'limit' | 'after' | 'count' | 'fields' | 'format' | 'q' | 'expand';
type Operator = 'eq' | 'ne' | 'lt' | 'lte' | 'gt' | 'gte' | 'in' | 'like' | 'ilike' | 'is_null';
type Value = string | number | boolean;
type Query<P, K extends keyof P> = Get<P, K> extends { parameters: { query?: infer Q } } ? NonNullable<Q> : never;
type Filterable<P, K extends keyof P> = Exclude<keyof Query<P, K> & string, NoFilter>;
type FiltersAt<P, K extends keyof P> = unknown extends P
  ? Record<string, Value>
  : { [N in Filterable<P, K> | `${Exclude<Filterable<P, K>, `${string}]`>}[${Operator}]`]?: Value };

/** The filters of a model's list: `{ status: 'paid', 'total[gte]': '100' }`. */
export type FilterOf<P, M extends string> = FiltersAt<P, ListPath<P, M>>;

/** The fields of a model. */
export type FieldOf<P, M extends string> = unknown extends P
  ? string
  : RowOf<P, M> extends { state: infer State }
    ? keyof NonNullable<State> & string
    : never;

/** The names of the SQL projections. */
export type ProjectionName<P> = unknown extends P
  ? string
  : { [K in keyof P]: K extends `/v1/projections/${infer Name}` ? Name : never }[keyof P];

type ProjectionPath<P, N extends string> = `/v1/projections/${N}` & keyof P;

/** A row of a projection, as lists show it. */
export type ProjectionRowOf<P, N extends string> = unknown extends P ? AnyKey : List<P, ProjectionPath<P, N>>;

/** The columns that identify a row of a projection: any of its columns, where the document doesn't say which. */
export type KeyOf<P, N extends string> = unknown extends P
  ? AnyKey
  : Ok<Get<P, `/v1/live/${N}` & keyof P>> extends { changes: { key: infer Key }[] }
    ? string extends keyof Key
      ? Partial<ProjectionRowOf<P, N>>
      : Pick<ProjectionRowOf<P, N>, keyof Key & keyof ProjectionRowOf<P, N>>
    : never;

/** The filters of a projection's list. */
export type ProjectionFilterOf<P, N extends string> = FiltersAt<P, ProjectionPath<P, N>>;

/** The columns of a projection. */
export type ColumnOf<P, N extends string> = unknown extends P ? string : keyof ProjectionRowOf<P, N> & string;

/** The names of the channels. */
export type ChannelName<P> = unknown extends P
  ? string
  : { [K in keyof P]: K extends `/v1/channels/${infer Name}/broadcast` ? Name : never }[keyof P];

/** What a service says in the channel by POST: the same, and where. */
type Posted<P, C extends string> = Input<Post<P, `/v1/channels/${C}/broadcast` & keyof P>>;

/** Which of the channels of that name: `id`, `key`, or nothing. */
export type ChannelTargetOf<P, C extends string> = unknown extends P
  ? { id?: string; key?: string | number | boolean }
  : Posted<P, C> extends infer All
    ? Pick<All & Record<never, never>, Extract<keyof All, 'id' | 'key'>>
    : never;

/** The events of a channel. */
export type MessageName<P, C extends string> = unknown extends P ? string : Posted<P, C>['event' & keyof Posted<P, C>];

/** What an event of a channel carries. Where any may be said, any object. */
export type PayloadOf<P, C extends string, E extends string> = unknown extends P
  ? Record<string, unknown>
  : string extends MessageName<P, C>
    ? Record<string, unknown>
    : NonNullable<(Extract<Posted<P, C>, { event: E }> & { payload?: unknown })['payload']>;

/** What members of a channel say of themselves; `never`: nobody sees who is there. */
export type PresenceOf<P, C extends string> = unknown extends P
  ? Record<string, unknown>
  : `/v1/channels/${C}/members` extends infer K extends keyof P
    ? Ok<Get<P, K>> extends { members: { state: infer State }[] }
      ? State
      : never
    : never;

/** The broadcasts of a channel, told apart by `event`. */
export type BroadcastOf<P, C extends string> = unknown extends P
  ? Broadcast
  : { [E in MessageName<P, C> & string]: Broadcast<E, PayloadOf<P, C, E>> }[MessageName<P, C> & string];
