// The messages of `writ.v1` as they are on the wire; `/asyncapi.json` of a server describes them for its models.

import type { ProblemDocument } from './problem.js';

/** The subprotocol. */
export const PROTOCOL = 'writ.v1';

/** To the server. */
export type ToServer =
  | {
      type: 'subscribe';
      sub: string;
      model?: string | undefined;
      projection?: string | undefined;
      id?: string | undefined;
      filter?: Record<string, string | number | boolean> | undefined;
      fields?: string | undefined;
      from: string;
    }
  | {
      type: 'join';
      sub: string;
      channel: string;
      id?: string | undefined;
      key?: string | number | boolean | undefined;
      state?: object | undefined;
    }
  | OfMember
  | { type: 'unsubscribe'; sub: string }
  | { type: 'ping' }
  | { type: 'authenticate'; token: string }
  | { type: 'authenticate'; ticket: string }
  | CommandMessage;

/** What a member of a channel sends. Answered with `sent`, or an `error` of the same `ref`. */
export type OfMember =
  | {
      type: 'broadcast';
      sub: string;
      ref: string;
      event: string;
      payload?: object | undefined;
      echo?: true | undefined;
    }
  | { type: 'presence'; sub: string; ref: string; state: object | null };

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
  | { type: 'snapshot'; sub: string; rows: unknown[]; keys?: unknown[] }
  | { type: 'enter' | 'change' | 'leave'; sub: string; resume: string }
  | { type: 'ended'; sub: string; reason: 'lagged' | 'permissions' | 'unsubscribed' | 'failed'; resume?: string };

/** Who is in a channel, and says something of itself. */
export interface Member<State = Record<string, unknown>> {
  /** Its id in this channel, as long as it is there. */
  member: string;
  /** `null`: nobody who has signed in. */
  account: string | null;
  state: State;
  /** When it joined. */
  since: string;
}

/** What somebody says in a channel. */
export interface Broadcast<Event extends string = string, Payload = Record<string, unknown>> {
  type: 'broadcast';
  event: Event;
  payload: Payload;
  /** Who says it; `null`: somebody who isn't there, such as a service. */
  member: string | null;
  account: string | null;
  at: string;
}

/** Of a channel. `ended` is that of subscriptions. */
export type OfChannel =
  | { type: 'joined'; sub: string; member: string; members?: Member[] }
  | ({ sub: string } & Broadcast)
  | { type: 'presence'; sub: string; joined: Member[]; left: string[] }
  | { type: 'members'; sub: string; members: Member[] }
  | { type: 'missed'; sub: string; count: number };

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
  | OfChannel
  | { type: 'sent'; ref: string }
  | AnswerMessage
  | { type: 'error'; sub?: string; ref?: string; problem: ProblemDocument }
  | { type: 'pong' }
  | { type: 'authenticated'; expires_at: string | null }
  | { type: 'reconnect'; after_ms: number };
