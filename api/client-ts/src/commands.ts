// Commands across connections: each has a key, so that one without an answer can be sent again, and is decided once.

import { Backoff } from './backoff.js';
import type { AnswerMessage, CommandMessage } from './messages.js';
import { closed, type ProblemDocument, WritProblem } from './problem.js';

/** What comes of a command that was taken. */
export interface Answer<Body = unknown> {
  /** 201: it has created; 200; 202: `wait: 'accepted'`. */
  status: number;
  body: Body;
  /** Goes into the header `Writ-Position` of a query that is to see it. */
  position?: string;
  /** The version, in quotes. */
  etag?: string;
  /** With `wait: 'projected'`: whether queries show it. */
  projected?: boolean;
}

/** How a command is sent. */
export interface CommandOptions<Input = unknown> {
  /** Id or natural key; not for creating commands. */
  id?: string;
  input?: Input;
  /** Visible ASCII. By default a random one; `false`: none, and no repeat after a lost connection. */
  idempotencyKey?: string | false;
  /** The version that was seen; with another the command is refused. */
  ifMatch?: number;
  /** How far the answer waits; by default until it is committed. */
  wait?: 'accepted' | 'committed' | 'projected';
  /** Gives up waiting. The command may be done all the same. */
  signal?: AbortSignal;
}

/** Refusals that say nothing of the command: it was not looked at. */
const NOT_YET = ['overloaded', 'rate-limited', 'shutting-down'];

/** Close code of RFC 6455. */
const TOO_BIG = 1009;

interface Pending {
  message: CommandMessage;
  backoff: Backoff;
  /** Its timer runs, or it is sent. */
  isUnderWay: boolean;
  timer?: ReturnType<typeof setTimeout>;
  settle: (outcome: Answer | WritProblem | { aborted: unknown }) => void;
}

/** The connection as commands see it. */
export interface Desk {
  readonly isOpen: boolean;
  send(message: CommandMessage): void;
  /** Nothing that was sent waits for an answer any more. */
  idle(): void;
}

/** Those without an answer. */
export class Commands {
  readonly #desk: Desk;
  /** Most that are sent and not answered. */
  readonly #most: number;
  readonly #messageLimit: number;
  readonly #pending = new Map<string, Pending>();
  readonly #sent = new Set<string>();
  #count = 0;

  constructor(desk: Desk, most: number, messageLimit: number) {
    this.#desk = desk;
    this.#most = most;
    this.#messageLimit = messageLimit;
  }

  get isBusy(): boolean {
    return this.#sent.size > 0;
  }

  run(model: string, command: string, options: CommandOptions): Promise<Answer> {
    const { id, input, ifMatch, wait, signal, idempotencyKey = crypto.randomUUID() } = options;
    this.#count += 1;
    const ref = String(this.#count);
    const message: CommandMessage = { type: 'command', ref, model, command, id, input, if_match: ifMatch, wait };
    if (idempotencyKey !== false) message.idempotency_key = idempotencyKey;
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (new TextEncoder().encode(JSON.stringify(message)).length > this.#messageLimit) {
      return Promise.reject(tooLarge());
    }
    return new Promise((resolve, reject) => {
      const abort = () => this.#settle(ref, { aborted: signal?.reason });
      const settle: Pending['settle'] = (outcome) => {
        signal?.removeEventListener('abort', abort);
        if (outcome instanceof WritProblem) reject(outcome);
        else if ('aborted' in outcome) reject(outcome.aborted);
        else resolve(outcome);
      };
      signal?.addEventListener('abort', abort);
      this.#pending.set(ref, { message, backoff: new Backoff(), isUnderWay: false, settle });
      this.open();
    });
  }

  /** Sends what waits, as far as there is room. */
  open(): void {
    for (const [ref, pending] of this.#pending) {
      if (!this.#desk.isOpen || this.#sent.size >= this.#most) return;
      if (pending.isUnderWay) continue;
      pending.isUnderWay = true;
      this.#sent.add(ref);
      this.#desk.send(pending.message);
    }
  }

  /** The connection is gone: what had no answer is sent again on the next, if that is safe. `code`: of the server's close. */
  lost(code?: number): void {
    if (code === TOO_BIG) this.#refuseLargest();
    for (const ref of this.#sent) {
      const pending = this.#pending.get(ref);
      if (pending === undefined) continue;
      pending.isUnderWay = false;
      if (pending.message.idempotency_key === undefined) {
        const detail =
          'The connection was lost before the answer came. Without an idempotency key it is not sent again.';
        this.#settle(ref, WritProblem.ofClient('unknown-outcome', 'It may or may not have been done', detail));
      }
    }
    this.#sent.clear();
  }

  /** One of those that were sent was more than the server takes, and would be again. */
  #refuseLargest(): void {
    const sizes = [...this.#sent].map(
      (ref) => [ref, JSON.stringify(this.#pending.get(ref)?.message ?? '').length] as const,
    );
    const largest = sizes.sort(([, a], [, b]) => b - a)[0];
    if (largest !== undefined) this.#settle(largest[0], tooLarge());
  }

  answer({ ref, status, body, position, etag, projected }: AnswerMessage): void {
    const answer: Answer = { status, body };
    if (position !== undefined) answer.position = position;
    if (etag !== undefined) answer.etag = etag;
    if (projected !== undefined) answer.projected = projected;
    this.#settle(ref, answer);
  }

  refused(ref: string, document: ProblemDocument): void {
    const problem = new WritProblem(document);
    const pending = this.#pending.get(ref);
    const isRepeatable = pending?.message.idempotency_key !== undefined || problem.command_id === undefined;
    if (pending === undefined || !NOT_YET.includes(problem.kind) || !isRepeatable) return this.#settle(ref, problem);
    // Still under way as long as the timer runs.
    pending.timer = setTimeout(() => {
      pending.isUnderWay = false;
      this.open();
    }, pending.backoff.next());
    this.#done(ref);
  }

  /** No more of any. */
  fail(problem: WritProblem = closed()): void {
    for (const ref of [...this.#pending.keys()]) this.#settle(ref, problem);
  }

  #settle(ref: string, outcome: Parameters<Pending['settle']>[0]): void {
    const pending = this.#pending.get(ref);
    this.#pending.delete(ref);
    clearTimeout(pending?.timer);
    pending?.settle(outcome);
    // An aborted one still takes room at the server until it is answered.
    if (pending !== undefined && 'aborted' in outcome && !(outcome instanceof WritProblem)) return;
    this.#done(ref);
  }

  /** The server has nothing more to say to it. */
  #done(ref: string): void {
    if (!this.#sent.delete(ref)) return;
    if (this.#sent.size === 0) this.#desk.idle();
    this.open();
  }
}

const tooLarge = () =>
  WritProblem.ofClient(
    'too-large',
    'The command is too large',
    'The server takes no messages of this size; send it by POST.',
  );
