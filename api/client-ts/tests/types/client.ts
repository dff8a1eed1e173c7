// What the types allow and refuse. Never run: it is the type check that tests it.

import {
  type ChannelName,
  type Client,
  connect,
  type EventOf,
  type ModelName,
  type ProjectionName,
  type RowOf,
} from '../../src/index.js';
import type { paths } from './openapi.js';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const holds = <_ extends true>() => {};

holds<Equal<Extract<ModelName<paths>, 'note' | 'events' | 'projections' | 'commands'>, 'note'>>();
holds<Equal<RowOf<paths, 'note'>['state']['status'], 'open' | 'closed' | undefined>>();
holds<Equal<RowOf<paths, 'note'>['version'], number>>();
type Event = EventOf<paths, 'note'>;
holds<Equal<Extract<Event, { type: 'desk.note.Written' }>['data']['text'], string | undefined>>();

export async function typed(client: Client<paths>): Promise<void> {
  for await (const event of client.subscribe('note', {
    filter: { status: 'open', 'weight[gte]': '1.00', 'number[in]': 'A,B', version: 1, 'created_at[lt]': '2026-01-31' },
    fields: ['text', 'status'],
    from: 'snapshot',
  })) {
    if (event.type === 'enter') {
      const text: string | undefined = event.row.state.text;
      if (event.event.type === 'desk.note.Written') event.event.data.number satisfies string | undefined;
      void text;
    }
    if (event.type === 'snapshot') event.rows[0]?.state.weight satisfies string | null | undefined;
    // @ts-expect-error: what has left has no row
    if (event.type === 'leave') void event.row;
  }
  // @ts-expect-error: no such model
  client.subscribe('nota');
  // @ts-expect-error: no such field
  client.subscribe('note', { filter: { txet: 'a' } });
  // @ts-expect-error: no such operator
  client.subscribe('note', { filter: { 'text[near]': 'a' } });
  // @ts-expect-error: lists sort, feeds don't
  client.subscribe('note', { filter: { sort: 'text' } });
  client.subscribe('note', {}, { leave: ({ id }) => id, change: async ({ row }) => row.state.text });

  const notes = client.collection('note', { filter: { status: 'open' } });
  notes.get('…')?.state.text satisfies string | undefined;

  const { body } = await client.command('note', 'write', { input: { number: 'A', text: 'b' } });
  body.state.text satisfies string | undefined;
  body.events[0]?.type satisfies 'desk.note.Written' | undefined;
  await client.command('note', 'close', { id: 'A', idempotencyKey: false, wait: 'projected' });
  // @ts-expect-error: a command on what exists needs its id
  await client.command('note', 'close', {});
  // @ts-expect-error: one that creates has none
  await client.command('note', 'write', { id: 'A', input: { number: 'A', text: 'b' } });
  // @ts-expect-error: its input is needed
  await client.command('note', 'write', {});
  // @ts-expect-error: no such command
  await client.command('note', 'burn', { id: 'A' });
}

export async function projections(client: Client<paths>): Promise<void> {
  for await (const event of client.follow({
    projection: 'stars',
    filter: { list: 'a', 'stars[gte]': 3 },
    fields: ['todos'],
    from: 'snapshot',
  })) {
    if (event.type === 'reset') break;
    if (event.type === 'snapshot') event.keys[0]?.stars satisfies number | undefined;
    else if (event.type === 'leave') event.key.list satisfies string | undefined;
    else event.row.todos satisfies number | null | undefined;
    // @ts-expect-error: what has left has no row
    if (event.type === 'leave') void event.row;
    // @ts-expect-error: it is of no one event
    if (event.type === 'enter') void event.event;
    // @ts-expect-error: not a column
    if (event.type === 'enter') void event.key.moons;
  }
  client.follow({ projection: 'stars' }, { leave: ({ key }) => key.stars, change: async ({ row }) => row.todos });
  // @ts-expect-error: no such projection
  client.follow({ projection: 'moons' });
  // @ts-expect-error: a model is no projection
  client.follow({ projection: 'note' });
  // @ts-expect-error: nor the other way round
  client.subscribe('stars');
  // @ts-expect-error: no such column
  client.follow({ projection: 'stars', filter: { moons: 1 } });
  // @ts-expect-error: no such column
  client.follow({ projection: 'stars', fields: ['moons'] });
  // @ts-expect-error: rows of projections have no id
  client.follow({ projection: 'stars', id: 'a' });

  const stars = client.collection({ projection: 'stars', filter: { list: 'a' } });
  stars.get({ list: 'a', stars: 5 })?.todos satisfies number | null | undefined;
  // @ts-expect-error: not a column
  stars.get({ list: 'a', moons: 5 });
}

holds<Equal<ChannelName<paths>, 'margin' | 'board' | 'lobby'>>();
holds<Equal<ProjectionName<paths>, 'stars'>>();

export async function channels(client: Client<paths>): Promise<void> {
  const margin = client.channel('margin', { id: 'A', state: { name: 'Ada' } });
  await margin.broadcast('typing', { is_typing: true }, { echo: true });
  await margin.broadcast('nodded');
  margin.on('typing', ({ payload }) => payload.is_typing satisfies boolean);
  margin.members.get('…')?.state.name satisfies string | undefined;
  await margin.setState({ name: 'Ada', typing: true });
  await margin.setState(null);
  for await (const event of margin) {
    if (event.type === 'broadcast' && event.event === 'typing') event.payload.is_typing satisfies boolean;
    if (event.type === 'presence') event.joined[0]?.state.name satisfies string | undefined;
    if (event.type === 'missed') event.count satisfies number;
  }
  // @ts-expect-error: its payload is needed
  await margin.broadcast('typing');
  // @ts-expect-error: no such field
  await margin.broadcast('typing', { is_tipping: true });
  // @ts-expect-error: no such event
  await margin.broadcast('shouted');
  // @ts-expect-error: no such event
  margin.on('shouted', () => {});
  // @ts-expect-error: nobody says this of themselves
  await margin.setState({ mood: 'good' });
  // @ts-expect-error: one for each note
  client.channel('margin', {});
  // @ts-expect-error: by id, not by key
  client.channel('margin', { key: 'A' });
  // @ts-expect-error: no such channel
  client.channel('cellar');

  const board = client.channel('board', { key: 3 });
  await board.broadcast('anything', { at: 'all' });
  // @ts-expect-error: keys are numbers here
  client.channel('board', { key: 'three' });
  // @ts-expect-error: nobody sees who is there
  client.channel('board', { key: 3, state: { name: 'Ada' } });
  await client.channel('lobby').broadcast('anything');
}

export async function untyped(): Promise<void> {
  const client = connect({ url: 'https://writ.example', token: async () => 'eyJ' });
  const rows = client.collection('anything', { filter: { 'a[gt]': 1 } });
  rows.get('…')?.state.anything satisfies unknown;
  await client.command('anything', 'anyhow');
  const { body } = await client.command('anything', 'anyhow', { id: 'a', input: { b: [1] } });
  body.version satisfies number;
  for await (const event of client.follow({ projection: 'anything', filter: { 'a[gt]': 1 } })) {
    if (event.type === 'leave') event.key.anything satisfies unknown;
  }
  const channel = client.channel('anything', { key: 1, state: { name: 'Ada' } });
  await channel.broadcast('anyhow', { a: 1 });
  channel.on('anyhow', ({ payload }) => payload.anything satisfies unknown);
  client.channel('anything');
}
