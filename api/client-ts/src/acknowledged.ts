// What was said in channels and has no answer yet. Said once: what people do now is of no use a minute later, so nothing is sent again.

import type { OfMember } from './messages.js';
import { type ProblemDocument, WritProblem } from './problem.js';

type Settle = { resolve: () => void; reject: (problem: WritProblem) => void };

/** The connection as they see it. */
export interface Desk {
  send(message: OfMember): void;
  /** Nothing waits for an answer any more. */
  idle(): void;
}

type WithoutRef<Message> = Message extends unknown ? Omit<Message, 'ref'> : never;

/** Those without an answer, of all channels of a connection. */
export class Acknowledged {
  readonly #desk: Desk;
  readonly #messageLimit: number;
  readonly #waiting = new Map<string, Settle>();
  #count = 0;

  constructor(desk: Desk, messageLimit: number) {
    this.#desk = desk;
    this.#messageLimit = messageLimit;
  }

  get isBusy(): boolean {
    return this.#waiting.size > 0;
  }

  /** Whether this is one of its names; those of commands are numbers. */
  has(ref: string): boolean {
    return this.#waiting.has(ref);
  }

  /** Resolves when the server has done it. */
  send(message: WithoutRef<OfMember>): Promise<void> {
    this.#count += 1;
    const ref = `c${this.#count}`;
    const whole = { ...message, ref } as OfMember;
    // A larger one would cost the connection, and all that is open on it.
    if (new TextEncoder().encode(JSON.stringify(whole)).length > this.#messageLimit) {
      const detail = 'The server takes no messages of this size.';
      return Promise.reject(WritProblem.ofClient('too-large', 'The message is too large', detail));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.set(ref, { resolve, reject });
      this.#desk.send(whole);
    });
  }

  sent(ref: string): void {
    this.#take(ref)?.resolve();
  }

  refused(ref: string, document: ProblemDocument): void {
    this.#take(ref)?.reject(new WritProblem(document));
  }

  /** The connection is gone. */
  lost(): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(unknownOutcome());
  }

  #take(ref: string): Settle | undefined {
    const settle = this.#waiting.get(ref);
    this.#waiting.delete(ref);
    if (settle !== undefined && this.#waiting.size === 0) this.#desk.idle();
    return settle;
  }
}

const unknownOutcome = () =>
  WritProblem.ofClient(
    'unknown-outcome',
    'It may or may not have been said',
    'The connection was lost before the answer came.',
  );
