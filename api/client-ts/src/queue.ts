// What waits for one loop over a channel: bounded, and what is too much takes the place of the oldest, as at the server.

type Waiting<T> = { resolve: (result: IteratorResult<T, undefined>) => void; reject: (error: unknown) => void };

/** Events for one loop. */
export class Queue<T> {
  readonly #most: number;
  readonly #missed: (count: number) => T;
  #events: T[] = [];
  /** Lost before the first of those that wait. */
  #lost = 0;
  #waiting: Waiting<T>[] = [];
  #end: { error: unknown } | 'done' | null = null;

  /** `missed`: what is told in the place of so many. */
  constructor(most: number, missed: (count: number) => T) {
    this.#most = most;
    this.#missed = missed;
  }

  put(event: T): void {
    if (this.#end) return;
    this.#events.push(event);
    if (this.#events.length > this.#most) {
      this.#events.shift();
      this.#lost += 1;
    }
    this.#hand();
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#hand();
    });
  }

  /** Nothing follows what waits. `null`: without an error. */
  end(end: { error: unknown } | null): void {
    if (this.#end) return;
    this.#end = end ?? 'done';
    this.#hand();
  }

  #hand(): void {
    while (this.#waiting.length > 0) {
      const event = this.#take();
      if (event === undefined && this.#end === null) return;
      const { resolve, reject } = this.#waiting.shift() as Waiting<T>;
      if (event !== undefined) resolve({ done: false, value: event });
      else if (this.#end === 'done') resolve({ done: true, value: undefined });
      else {
        const { error } = this.#end as { error: unknown };
        this.#end = 'done';
        reject(error);
      }
    }
  }

  #take(): T | undefined {
    const lost = this.#lost;
    this.#lost = 0;
    return lost > 0 ? this.#missed(lost) : this.#events.shift();
  }
}
