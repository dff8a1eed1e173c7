// Who is in a channel: a list that keeps itself up to date by what the channel hears.

import type { Member, OfChannel } from './messages.js';

/** What has become of the list. */
export type MembersEvent<State = Record<string, unknown>> =
  | { type: 'presence'; joined: Member<State>[]; changed: Member<State>[]; left: Member<State>[] }
  /** The whole list again: with each join, and after the server could not follow it for a while. */
  | { type: 'members'; members: Member<State>[] };

/** Hears of each change after it was made. */
export type MembersListener<State> = (event: MembersEvent<State>) => void;

/** Members by their ids. */
export class Members<State = Record<string, unknown>> {
  readonly #all = new Map<string, Member<State>>();
  readonly #listeners = new Set<MembersListener<State>>();
  #revision = 0;
  #isCurrent = false;

  /** The members, by id. Changes in place; {@link revision} says whether it has. */
  get all(): ReadonlyMap<string, Member<State>> {
    return this.#all;
  }

  /** Counts the changes, as that of a collection. */
  get revision(): number {
    return this.#revision;
  }

  /** Whether the list is kept up to date. `false` while one isn't in the channel; those who were there last stay shown. */
  get isCurrent(): boolean {
    return this.#isCurrent;
  }

  get size(): number {
    return this.#all.size;
  }

  get(member: string): Member<State> | undefined {
    return this.#all.get(member);
  }

  [Symbol.iterator](): IterableIterator<Member<State>> {
    return this.#all.values();
  }

  /** Calls the listener after each change, until the function that it returns is called. */
  readonly subscribe = (listener: MembersListener<State>): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  /** @internal The whole list. */
  replace(members: Member<State>[]): MembersEvent<State> {
    this.#all.clear();
    for (const one of members) this.#all.set(one.member, one);
    this.#isCurrent = true;
    return this.#tell({ type: 'members', members });
  }

  /** @internal Some have left, then some are new or say something else. */
  change({ joined, left }: Extract<OfChannel, { type: 'presence' }>): MembersEvent<State> {
    const event = { type: 'presence' as const, joined: [], changed: [], left: [] } as MembersEvent<State> & {
      type: 'presence';
    };
    for (const id of left) {
      const known = this.#all.get(id);
      if (known !== undefined) event.left.push(known);
      this.#all.delete(id);
    }
    for (const one of joined as Member<State>[]) {
      (this.#all.has(one.member) ? event.changed : event.joined).push(one);
      this.#all.set(one.member, one);
    }
    return this.#tell(event);
  }

  /** @internal Nobody says any more what becomes of them. `isVoid`: and they must not be shown. */
  lose(isVoid: boolean): void {
    this.#isCurrent = false;
    if (!isVoid || this.#all.size === 0) return;
    this.#all.clear();
    this.#tell({ type: 'members', members: [] });
  }

  #tell(event: MembersEvent<State>): MembersEvent<State> {
    this.#revision += 1;
    for (const listener of [...this.#listeners]) listener(event);
    return event;
  }
}
