// What waits for a consumer of a subscription, and what it has taken: bounded, and the one place that says how far it is.

import type { LiveEvent, RowsEvent } from './events.js';

/** Of a model or of a projection. */
export type Told = LiveEvent | RowsEvent;

interface Entry {
  event: Told;
  /** Where to go on once this is taken. `null`: nowhere new. */
  resume: string | null;
}

/** Events in their order. One is handed out at a time, and taken when the next one is asked for. */
export class Inbox {
  readonly #entries: Entry[] = [];
  /** Handed out, and not taken yet. */
  #current: Entry | null = null;
  #resume: string | null;

  constructor(resume: string | null) {
    this.#resume = resume;
  }

  /** Behind everything that was taken. */
  get resume(): string | null {
    return this.#resume;
  }

  /** How many wait. */
  get length(): number {
    return this.#entries.length;
  }

  put(event: Told, resume: string | null): void {
    this.#entries.push({ event, resume });
  }

  /** There is nothing for the consumer up to there. */
  advance(resume: string): void {
    const last = this.#entries.at(-1) ?? this.#current;
    if (last === null) this.#resume = resume;
    else last.resume = resume;
  }

  /** The one that was handed out is done. */
  taken(): void {
    if (this.#current?.resume) this.#resume = this.#current.resume;
    this.#current = null;
  }

  /** The next one. */
  next(): Told | undefined {
    this.taken();
    this.#current = this.#entries.shift() ?? null;
    return this.#current?.event;
  }

  clear(): void {
    this.#entries.length = 0;
  }
}
