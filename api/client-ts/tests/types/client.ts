// What the types allow and refuse. Never run: it is the type check that tests it.

import { type Client, connect, type EventOf, type ModelName, type RowOf } from '../../src/index.js';
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

export async function untyped(): Promise<void> {
  const client = connect({ url: 'https://writ.example', token: async () => 'eyJ' });
  const rows = client.collection('anything', { filter: { 'a[gt]': 1 } });
  rows.get('…')?.state.anything satisfies unknown;
  await client.command('anything', 'anyhow');
  const { body } = await client.command('anything', 'anyhow', { id: 'a', input: { b: [1] } });
  body.version satisfies number;
}
