// What the integration test does, in Node.js and in a page alike: it follows the to-dos of a list in several ways, changes them by
// commands over the same connection, which is cut all the while, and then compares what it has with what the server's lists say.

import { type AnyRow, type Client, connect, type LiveEvent, type WebSocketConstructor } from '../../src/index.js';

export interface Given {
  url: string;
  token: string;
  /** To-dos of other runs are in other lists. */
  list: string;
  /** To-dos to make; each is changed some times. */
  todos: number;
  WebSocket?: WebSocketConstructor;
}

/** What was seen. Faults say what was wrong. */
export interface Report {
  faults: string[];
  connections: number;
  commands: number;
  events: number;
  rows: number;
  resets: number;
}

type Row = Pick<AnyRow, 'id' | 'version' | 'state'>;

/** What must have come of one, by the answers of its commands. */
interface Expected {
  version: number;
  isDeleted: boolean;
}

const pick = (most: number) => Math.floor(Math.random() * most);

export async function scenario(given: Given): Promise<Report> {
  const { url, token, list, todos } = given;
  const report: Report = { faults: [], connections: 0, commands: 0, events: 0, rows: 0, resets: 0 };
  const client = connect({
    url,
    token,
    backoff: { first: 20, most: 200 },
    ...(given.WebSocket === undefined ? {} : { WebSocket: given.WebSocket }),
    onState: (state, problem) => {
      if (state === 'open') report.connections += 1;
      if (state === 'closed' && problem !== undefined) report.faults.push(`closed: ${problem.message}`);
    },
    onProblem: (problem) => report.faults.push(`problem: ${problem.message}`),
  });
  const all = { list };
  const good = { list, 'stars[gte]': 3 };
  const copies = {
    all: client.collection('todo', { filter: all }),
    good: client.collection('todo', { filter: good }),
  };
  await Promise.all([copies.all.ready, copies.good.ready]);
  copies.all.subscribe(({ type }) => {
    if (type === 'reset') report.resets += 1;
  });

  // Every change, once and in order: by a handler that takes its time, and by a loop that can't keep up.
  const seen = { handler: new Seen(report), loop: new Seen(report) };
  const handled = client.subscribe(
    'todo',
    { filter: all, from: 'snapshot', buffer: 20 },
    {
      snapshot: (event) => seen.handler.hear(event),
      enter: async (event) => {
        await pause(pick(3));
        seen.handler.hear(event);
      },
      change: (event) => seen.handler.hear(event),
      leave: (event) => seen.handler.hear(event),
      error: (error) => report.faults.push(`handler: ${error}`),
    },
  );
  const looped = client.subscribe('todo', { filter: all, from: 'snapshot', buffer: 8 });
  const loop = (async () => {
    for await (const event of looped) {
      if (pick(4) === 0) await pause(pick(20));
      seen.loop.hear(event);
    }
  })();

  await Promise.all([seen.handler.began, seen.loop.began]);

  const expected = new Map<string, Expected>();
  await write(client, list, todos, expected, report);

  for (const [name, { events }] of Object.entries(seen)) {
    await until(() => events.size >= expected.size && isComplete(events, expected));
    compare(name, events, expected, report);
  }
  // Lists follow commands a moment later.
  await until(async () => isShown(await read(url, token, all), expected));
  for (const [name, filter] of Object.entries({ all, good })) {
    const rows = await read(url, token, filter);
    const copy = copies[name as 'all' | 'good'].rows;
    await until(() => difference(copy, rows) === null);
    const fault = difference(copy, rows);
    if (fault !== null) report.faults.push(`${name}: ${fault}`);
    report.rows += rows.length;
  }
  looped.close();
  await loop;
  client.close();
  await Promise.all([handled.closed, looped.closed]);
  return report;
}

/** The versions that a subscription was told of each row, and 0 when it left. */
class Seen {
  readonly events = new Map<string, number[]>();
  /** Resolves with the snapshot of the empty list. */
  readonly began: Promise<void>;
  readonly #report: Report;
  #begin: (() => void) | null = null;

  constructor(report: Report) {
    this.#report = report;
    this.began = new Promise((resolve) => {
      this.#begin = resolve;
    });
  }

  hear(event: LiveEvent): void {
    if (event.type === 'snapshot' || event.type === 'reset') {
      if (this.#begin === null || event.type === 'reset') this.#report.faults.push(`${event.type} after the first`);
      this.#begin?.();
      this.#begin = null;
      return;
    }
    this.#report.events += 1;
    const versions = this.events.get(event.id) ?? [];
    versions.push(event.type === 'leave' ? 0 : event.version);
    this.events.set(event.id, versions);
  }
}

/** Makes to-dos, changes them, deletes some; several at a time. */
async function write(client: Client, list: string, todos: number, expected: Map<string, Expected>, report: Report) {
  let left = todos;
  const writer = async () => {
    while (left > 0) {
      left -= 1;
      const made = await client.command('todo', 'create', { input: { list, title: `t${left}`, stars: pick(6) } });
      const { id } = made.body;
      const one: Expected = { version: 1, isDeleted: false };
      expected.set(id, one);
      report.commands += 1;
      for (let more = pick(5); more > 0; more -= 1) {
        const { body } = await client.command('todo', 'update', { id, input: { stars: pick(6) } });
        one.version += 1;
        report.commands += 1;
        if (body.version !== one.version) report.faults.push(`${id}: version ${body.version}, not ${one.version}`);
      }
      if (pick(5) === 0) {
        await client.command('todo', 'delete', { id, wait: 'projected' });
        one.isDeleted = true;
        report.commands += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: 6 }, writer));
}

function versions({ version, isDeleted }: Expected): number[] {
  const all = Array.from({ length: version }, (_, index) => index + 1);
  return isDeleted ? [...all, 0] : all;
}

function isComplete(events: Map<string, number[]>, expected: Map<string, Expected>): boolean {
  return [...expected].every(([id, one]) => (events.get(id)?.length ?? 0) >= versions(one).length);
}

function isShown(rows: Row[], expected: Map<string, Expected>): boolean {
  const shown = new Map(rows.map(({ id, version }) => [id, version]));
  return [...expected].every(([id, { version, isDeleted }]) => shown.get(id) === (isDeleted ? undefined : version));
}

function compare(name: string, events: Map<string, number[]>, expected: Map<string, Expected>, report: Report) {
  if (events.size !== expected.size) report.faults.push(`${name}: ${events.size} rows, not ${expected.size}`);
  for (const [id, one] of expected) {
    const [seen, wanted] = [events.get(id)?.join(), versions(one).join()];
    if (seen !== wanted) report.faults.push(`${name}: ${id} was ${seen}, not ${wanted}`);
  }
}

/** All rows of the list. */
async function read(url: string, token: string, filter: Record<string, string | number>): Promise<Row[]> {
  const rows: Row[] = [];
  let after: string | null = null;
  do {
    const parameters = new URLSearchParams({ limit: '500', ...(after === null ? {} : { after }) });
    for (const [name, value] of Object.entries(filter)) parameters.set(name, String(value));
    const response = await fetch(new URL(`/v1/todo?${parameters}`, url), {
      headers: { authorization: `Bearer ${token}` },
    });
    if (!response.ok) throw new Error(`GET: ${response.status} ${await response.text()}`);
    const page = (await response.json()) as { items: Row[]; next: string | null };
    rows.push(...page.items);
    after = page.next;
  } while (after !== null);
  return rows;
}

function difference(copy: ReadonlyMap<string, Row>, rows: Row[]): string | null {
  if (copy.size !== rows.length) return `${copy.size} rows, the list has ${rows.length}`;
  for (const row of rows) {
    const [own, theirs] = [JSON.stringify(copy.get(row.id)), JSON.stringify(row)];
    if (own !== theirs) return `${own}, the list has ${theirs}`;
  }
  return null;
}

export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits for a condition; what comes of it when it never holds is told by who looks next. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const start = Date.now();
  while (!(await condition()) && Date.now() - start < 60_000) await pause(20);
}
