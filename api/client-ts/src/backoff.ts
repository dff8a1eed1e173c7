// When to try again: exponential backoff with full jitter, so that thousands who lost the same server don't come back at once.

/** How long to wait between attempts. */
export interface BackoffOptions {
  /** The longest wait after the first failure, milliseconds; doubles with each. Default 250. */
  first?: number;
  /** Where it stops to double, milliseconds. Default 30,000. */
  most?: number;
}

/** The waits of one thing that is tried again and again. */
export class Backoff {
  readonly #first: number;
  readonly #most: number;
  #failures = 0;

  constructor({ first = 250, most = 30_000 }: BackoffOptions = {}) {
    this.#first = first;
    this.#most = most;
  }

  /** The longest wait that the next failure leads to. */
  get ceiling(): number {
    return Math.min(this.#most, this.#first * 2 ** Math.min(this.#failures, 30));
  }

  /** After a failure: milliseconds until the next attempt, any of the interval with equal chance. */
  next(): number {
    const wait = Math.random() * this.ceiling;
    this.#failures += 1;
    return wait;
  }

  /** After a success. */
  reset(): void {
    this.#failures = 0;
  }
}
