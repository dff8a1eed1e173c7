// What the integration test of projections and channels does, in Node.js and in a page alike: three clients at the same list of
// to-dos, whose connections are cut all the while.

import { type AnyKey, type Channel, type Client, connect, type WebSocketConstructor } from '../../src/index.js';
import { pause, until } from './scenario.js';

export interface Together {
  url: string;
  token: string;
  list: string;
  WebSocket?: WebSocketConstructor;
}

/** What was seen. Faults say what was wrong. */
export interface TogetherReport {
  faults: string[];
  connections: number;
  /** Times that a channel was joined again. */
  joins: number;
  heard: number;
  said: number;
  rows: number;
}

const NAMES = ['ada', 'bob', 'cyd'];
const ROUNDS = 40;
/** Why a broadcast may be lost. */
const UNSAID = ['unknown-outcome', 'not-joined', 'live-unavailable'];

export async function together(given: Together): Promise<TogetherReport> {
  const { url, token, list } = given;
  const report: TogetherReport = { faults: [], connections: 0, joins: 0, heard: 0, said: 0, rows: 0 };
  const made = () =>
    connect({
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
  const clients = NAMES.map(made);
  const channels = clients.map((client, place) =>
    client.channel('table', { key: list, state: { name: NAMES[place], typing: false } }),
  );
  await Promise.all(channels.map(({ ready }) => ready));
  const copy = (clients[0] as Client).collection({ projection: 'stars', filter: { list } });
  await copy.ready;
  for (const [place, channel] of channels.entries()) listen(channel, NAMES[place] as string, report);

  await Promise.all(channels.map((channel, place) => speak(channel, NAMES[place] as string, report)));
  await Promise.all(channels.map((channel, place) => channel.setState({ name: NAMES[place], typing: true })));
  await write(clients[1] as Client, list);

  // Everyone sees everyone, once, with what they said last of themselves. The server forgets who was cut a moment later.
  const seen = (channel: Channel) => [...channel.members].map(({ state }) => `${state.name} ${state.typing}`).sort();
  const all = NAMES.map((name) => `${name} true`).join();
  for (const channel of channels) {
    await until(() => seen(channel).join() === all);
    if (seen(channel).join() !== all) report.faults.push(`members: ${seen(channel)}`);
  }
  await compare(
    given,
    copy.rows,
    (rows) => {
      report.rows = rows.length;
      for (const row of rows) {
        const key = { stars: row.stars, list: row.list };
        if (copy.get(key)?.todos !== row.todos) report.faults.push(`${JSON.stringify(key)} is another row`);
      }
    },
    report,
  );

  channels[2]?.leave();
  await channels[2]?.closed;
  const left = channels[0] as Channel;
  const others = 'ada true,bob true';
  await until(() => seen(left).join() === others);
  if (seen(left).join() !== others) report.faults.push(`after one has left: ${seen(left)}`);
  const refused = (clients[0] as Client).channel('table', { key: 'longer than keys are'.repeat(3) });
  await refused.ready.then(
    () => report.faults.push('there is a channel that there is not'),
    ({ kind }) => kind === 'invalid-input' || report.faults.push(`a key that is too long: ${kind}`),
  );
  for (const client of clients) client.close();
  await Promise.all(channels.map(({ closed }) => closed));
  return report;
}

/** What one member says is heard in its order, at most once. */
function listen(channel: Channel, own: string, report: TogetherReport): void {
  const last = new Map<unknown, number>();
  channel.on('said', ({ payload, member }) => {
    report.heard += 1;
    const { name, round } = payload as { name: string; round: number };
    if (name === own) report.faults.push(`${own} heard itself`);
    if (member === null) report.faults.push('a broadcast of nobody');
    if (round <= (last.get(name) ?? -1)) report.faults.push(`${own} heard ${name} ${round} after ${last.get(name)}`);
    last.set(name, round);
  });
  channel.subscribe(({ type }) => {
    if (type === 'joined') report.joins += 1;
  });
}

async function speak(channel: Channel, name: string, report: TogetherReport): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    await pause(Math.random() * 30);
    await until(() => channel.isJoined);
    try {
      await channel.broadcast('said', { name, round });
      report.said += 1;
    } catch (error) {
      // The connection was cut on the way, or right before; or Redis took its time.
      const { kind } = error as { kind?: string };
      if (!UNSAID.includes(kind ?? '')) report.faults.push(`broadcast: ${error}`);
    }
  }
}

async function write(client: Client, list: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round += 1) {
    await client.command('todo', 'create', { input: { list, title: `t${round}`, stars: round % 6 } });
  }
}

type Row = AnyKey & { list: string; stars: number; todos: number };

/** Until the copy is the list. */
async function compare(
  { url, token, list }: Together,
  copy: ReadonlyMap<string, AnyKey>,
  then: (rows: Row[]) => void,
  report: TogetherReport,
): Promise<void> {
  const read = async () => {
    const address = new URL(`/v1/projections/stars?${new URLSearchParams({ list })}`, url);
    const response = await fetch(address, { headers: { authorization: `Bearer ${token}` } });
    if (!response.ok) throw new Error(`GET: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { items: Row[] }).items;
  };
  const texts = (rows: Iterable<AnyKey>) =>
    [...rows]
      .map((row) => JSON.stringify(row))
      .sort()
      .join('\n');
  let rows: Row[] = [];
  await until(async () => {
    rows = await read();
    return rows.reduce((sum, { todos }) => sum + todos, 0) === ROUNDS;
  });
  await until(() => texts(copy.values()) === texts(rows));
  if (texts(copy.values()) !== texts(rows)) report.faults.push(`${texts(copy.values())}, the list has ${texts(rows)}`);
  then(rows);
}
