// What a subscription tells its consumer.

/** A row as lists show it. */
export interface AnyRow {
  id: string;
  version: number;
  state: Record<string, unknown>;
  created_at: string;
  updated_at: string;
}

/** What has happened to it. */
export interface AnyEvent {
  id: string;
  type: string;
  version: number;
  time: string;
  data: Record<string, unknown>;
}

/** The row begins to be one of the subscription's: it is new, fits now, or may be read now. */
export interface Enter<Row = AnyRow, Event = AnyEvent> {
  type: 'enter';
  model: string;
  id: string;
  version: number;
  event: Event;
  row: Row;
  position: string;
  /** Where a later subscription goes on behind this. */
  resume: string;
}

/** The row is still one of them. */
export interface Change<Row = AnyRow, Event = AnyEvent> extends Omit<Enter<Row, Event>, 'type'> {
  type: 'change';
}

/** The row is none of them any more: deleted, or it doesn't fit, or may not be read any more. */
export interface Leave {
  type: 'leave';
  model: string;
  id: string;
  position: string;
  resume: string;
}

/** All rows at one moment. What was known before is void. */
export interface Snapshot<Row = AnyRow> {
  type: 'snapshot';
  rows: Row[];
  resume: string;
}

/**
 * What is known can't be continued; a snapshot follows. `permissions` and `other_view`: the reader may see something else now, so what is
 * shown should go at once. Other reasons are the server's: `too_old`, `repartitioned`, `unknown`; `changed`: rows of a projection are
 * others now.
 */
export interface Reset {
  type: 'reset';
  reason: string;
}

/** Anything of these. */
export type LiveEvent<Row = AnyRow, Event = AnyEvent> =
  | Enter<Row, Event>
  | Change<Row, Event>
  | Leave
  | Snapshot<Row>
  | Reset;

/** One function for each that is wanted. One that returns a promise is waited for before the next is called. */
export interface Handlers<Row = AnyRow, Event = AnyEvent> {
  enter?: (event: Enter<Row, Event>) => unknown;
  change?: (event: Change<Row, Event>) => unknown;
  leave?: (event: Leave) => unknown;
  snapshot?: (event: Snapshot<Row>) => unknown;
  reset?: (event: Reset) => unknown;
  /** The end, if it isn't that somebody closed it. */
  error?: (error: unknown) => unknown;
}

/** The columns that identify a row of a projection. */
export type AnyKey = Record<string, unknown>;

/** The row begins to be one of those that are followed, or is one of them and has changed. No event says why: it may be of many. */
export interface RowChange<Row = AnyKey, Key = AnyKey> {
  type: 'enter' | 'change';
  projection: string;
  key: Key;
  row: Row;
  /** As of events of models. Several changes may be one step: then only that of the last is a place to go on from without a `reset`. */
  resume: string;
}

/** The row is none of them any more. */
export interface RowLeave<Key = AnyKey> {
  type: 'leave';
  projection: string;
  key: Key;
  resume: string;
}

/** All rows at one moment, and their keys in the same order. What was known before is void. */
export interface RowsSnapshot<Row = AnyKey, Key = AnyKey> {
  type: 'snapshot';
  rows: Row[];
  keys: Key[];
  resume: string;
}

/** What is told of the rows of a projection. */
export type RowsEvent<Row = AnyKey, Key = AnyKey> =
  | RowChange<Row, Key>
  | RowLeave<Key>
  | RowsSnapshot<Row, Key>
  | Reset;

/** As {@link Handlers}, of a projection. */
export interface RowsHandlers<Row = AnyKey, Key = AnyKey> {
  enter?: (event: RowChange<Row, Key>) => unknown;
  change?: (event: RowChange<Row, Key>) => unknown;
  leave?: (event: RowLeave<Key>) => unknown;
  snapshot?: (event: RowsSnapshot<Row, Key>) => unknown;
  reset?: (event: Reset) => unknown;
  error?: (error: unknown) => unknown;
}
