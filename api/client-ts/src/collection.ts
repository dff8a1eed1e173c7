// A copy of the rows that a subscription shows, as a map that keeps itself up to date.

import type { AnyRow, Handlers, LiveEvent } from './events.js';
import type { Subscription } from './subscription.js';

/** Hears of each change after it was made. */
export type CollectionListener<Row = AnyRow> = (event: LiveEvent<Row>) => void;

/** Rows by id. */
export class Collection<Row extends { id: string } = AnyRow> {
  /** Resolves with the first snapshot; rejects if there will be none. */
  readonly ready: Promise<void>;
  readonly #rows = new Map<string, Row>();
  readonly #listeners = new Set<CollectionListener<Row>>();
  readonly #subscription: Subscription;
  #revision = 0;
  #isCurrent = false;

  /** @internal */
  constructor(follow: (handlers: Handlers) => Subscription) {
    let settle!: { resolve: () => void; reject: (error: unknown) => void };
    this.ready = new Promise((resolve, reject) => {
      settle = { resolve, reject };
    });
    this.ready.catch(() => {});
    const handler = (event: LiveEvent) => this.#apply(event as unknown as LiveEvent<Row>, settle.resolve);
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

  /** The rows, by id. Changes in place; {@link revision} says whether it has. */
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

  get(id: string): Row | undefined {
    return this.#rows.get(id);
  }

  [Symbol.iterator](): IterableIterator<Row> {
    return this.#rows.values();
  }

  /** Calls the listener after each change, until the function that it returns is called. */
  readonly subscribe = (listener: CollectionListener<Row>): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** No more changes. The rows stay. */
  close(): void {
    this.#subscription.close();
  }

  #apply(event: LiveEvent<Row>, ready: () => void): void {
    switch (event.type) {
      case 'enter':
      case 'change':
        this.#rows.set(event.id, event.row);
        break;
      case 'leave':
        this.#rows.delete(event.id);
        break;
      case 'snapshot':
        this.#rows.clear();
        for (const row of event.rows) this.#rows.set(row.id, row);
        this.#isCurrent = true;
        break;
      case 'reset':
        this.#isCurrent = false;
        // Other rows stay until their successors are there.
        if (event.reason === 'permissions' || event.reason === 'other_view') this.#rows.clear();
    }
    this.#revision += 1;
    for (const listener of this.#listeners) listener(event);
    if (event.type === 'snapshot') ready();
  }
}
