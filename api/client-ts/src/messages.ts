// The messages of `writ.v1` as they are on the wire; `/asyncapi.json` of a server describes them for its models.

import type { ProblemDocument } from './problem.js';

/** The subprotocol. */
export const PROTOCOL = 'writ.v1';

/** To the server. */
export type ToServer =
  | {
      type: 'subscribe';
      sub: string;
      model: string;
      id?: string | undefined;
      filter?: Record<string, string | number | boolean> | undefined;
      fields?: string | undefined;
      from: string;
    }
  | { type: 'unsubscribe'; sub: string }
  | { type: 'ping' }
  | { type: 'authenticate'; token: string }
  | { type: 'authenticate'; ticket: string }
  | CommandMessage;

/** A command on its way. */
export interface CommandMessage {
  type: 'command';
  ref: string;
  model: string;
  command: string;
  id?: string | undefined;
  input?: unknown;
  idempotency_key?: string | undefined;
  if_match?: number | undefined;
  wait?: string | undefined;
}

/** The first message. */
export interface Welcome {
  type: 'welcome';
  connection: string;
  account: string | null;
  expires_at: string | null;
  ping_seconds: number;
}

/** Of a subscription. */
export type OfSubscription =
  | { type: 'subscribed' | 'ready' | 'progress'; sub: string; resume: string }
  | { type: 'reset'; sub: string; reason: string }
  | { type: 'snapshot'; sub: string; rows: unknown[] }
  | { type: 'enter' | 'change' | 'leave'; sub: string; id: string; position: string; resume: string }
  | { type: 'ended'; sub: string; reason: 'lagged' | 'permissions' | 'unsubscribed' | 'failed'; resume?: string };

/** The answer to a command that was taken. */
export interface AnswerMessage {
  type: 'answer';
  ref: string;
  status: number;
  body: unknown;
  position?: string;
  etag?: string;
  projected?: boolean;
}

/** From the server. A type that isn't here is passed over: servers may learn more. */
export type FromServer =
  | Welcome
  | OfSubscription
  | AnswerMessage
  | { type: 'error'; sub?: string; ref?: string; problem: ProblemDocument }
  | { type: 'pong' }
  | { type: 'authenticated'; expires_at: string | null }
  | { type: 'reconnect'; after_ms: number };
