// A copy of the rows that a subscription shows, as a map that keeps itself up to date.

import type { AnyKey, AnyRow, Handlers, LiveEvent, RowsEvent, RowsHandlers } from './events.js';
import type { Subscription } from './subscription.js';

/** Hears of each change after it was made. */
export type CollectionListener<Row = AnyRow> = (event: LiveEvent<Row>) => void;

/** Hears of each change of a projection's rows after it was made. */
export type RowCollectionListener<Row = AnyKey, Key = AnyKey> = (event: RowsEvent<Row, Key>) => void;

/** What the events of models and of projections have in common. */
type Told<Row> =
  | { type: 'enter' | 'change'; row: Row }
  | { type: 'leave' }
  | { type: 'snapshot'; rows: Row[] }
  | { type: 'reset'; reason: string };

/** Rows by a text that identifies them. */
abstract class Copy<Row, Event extends Told<Row>> {
  /** Resolves with the first snapshot; rejects if there will be none. */
  readonly ready: Promise<void>;
  readonly #rows = new Map<string, Row>();
  readonly #listeners = new Set<(event: Event) => void>();
  readonly #subscription: Subscription;
  #revision = 0;
  #isCurrent = false;

  /** @internal */
  constructor(follow: (handlers: Handlers & RowsHandlers) => Subscription) {
    let settle!: { resolve: () => void; reject: (error: unknown) => void };
    this.ready = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.ready.catch(() => {});
    const handler = (event: unknown) => this.#apply(event as Event, settle.resolve);
    this.#subscription = follow({
      enter: handler,
      change: handler,
      leave: handler,
      snapshot: handler,
      reset: handler,
    });
    const ended = () => settle.reject(new Error('The collection was closed before its first snapshot.'));
    this.#subscription.closed.then(ended, settle.reject);
  }

  /** What identifies the row that has changed or left. */
  protected abstract nameOf(event: Event & { type: 'enter' | 'change' | 'leave' }): string;

  /** What identifies each row of a snapshot. */
  protected abstract namesOf(snapshot: Event & { type: 'snapshot' }): string[];

  /** The rows, by id, of a projection by a text made of the key. Changes in place; {@link revision} says whether it has. */
  get rows(): ReadonlyMap<string, Row> {
    return this.#rows;
  }

  /** Counts the changes, for those who look whether there was one: `useSyncExternalStore(rows.subscribe, () => rows.revision)`. */
  get revision(): number {
    return this.#revision;
  }

  /** Whether the rows are those of a snapshot and what came after. `false` before the first and after a reset. */
  get isCurrent(): boolean {
    return this.#isCurrent;
  }

  /** As of the subscription. */
  get closed(): Promise<void> {
    return this.#subscription.closed;
  }

  get size(): number {
    return this.#rows.size;
  }

  [Symbol.iterator](): IterableIterator<Row> {
    return this.#rows.values();
  }

  /** Calls the listener after each change, until the function that it returns is called. */
  readonly subscribe = (listener: (event: Event) => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** No more changes. The rows stay. */
  close(): void {
    this.#subscription.close();
  }

  #apply(event: Event, ready: () => void): void {
    const told = event as Told<Row>;
    switch (told.type) {
      case 'enter':
      case 'change':
        this.#rows.set(this.nameOf(event as never), told.row);
        break;
      case 'leave':
        this.#rows.delete(this.nameOf(event as never));
        break;
      case 'snapshot': {
        const names = this.namesOf(event as never);
        this.#rows.clear();
        for (const [place, row] of told.rows.entries()) this.#rows.set(names[place] as string, row);
        this.#isCurrent = true;
        break;
      }
      case 'reset':
        this.#isCurrent = false;
        // Other rows stay until their successors are there.
        if (told.reason === 'permissions' || told.reason === 'other_view') this.#rows.clear();
    }
    this.#revision += 1;
    for (const listener of this.#listeners) listener(event);
    if (told.type === 'snapshot') ready();
  }
}

/** Rows of a model, by id. */
export class Collection<Row extends { id: string } = AnyRow> extends Copy<Row, LiveEvent<Row>> {
  get(id: string): Row | undefined {
    return this.rows.get(id);
  }

  protected override nameOf({ id }: { id: string }): string {
    return id;
  }

  protected override namesOf({ rows }: { rows: Row[] }): string[] {
    return rows.map(({ id }) => id);
  }
}

/** Rows of a projection, by key. */
export class RowCollection<Row = AnyKey, Key = AnyKey> extends Copy<Row, RowsEvent<Row, Key>> {
  /** By all columns of the key, as rows show them: `days.get({ day: '2026-01-31' })`. */
  get(key: Key): Row | undefined {
    return this.rows.get(text(key));
  }

  protected override nameOf({ key }: { key: Key }): string {
    return text(key);
  }

  protected override namesOf({ keys }: { keys: Key[] }): string[] {
    return keys.map(text);
  }
}

/** The same for equal keys, in whatever order their columns are named. */
function text(key: unknown): string {
  return JSON.stringify(Object.entries(key as AnyKey).sort(([a], [b]) => (a < b ? -1 : 1)));
}
