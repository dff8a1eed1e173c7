import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { RowsEvent } from '../../src/index.js';
import { Server } from './server.js';

let server: Server;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server();
});

afterEach(() => {
  vi.useRealTimers();
});

const settle = (time = 0) => vi.advanceTimersByTimeAsync(time);

async function opened() {
  await settle();
  server.connection.welcome();
  return server.connection;
}

const key = (day: string) => ({ day, shop: 'a' });
const change = (type: string, day: string, place: number) => ({
  type,
  sub: '1',
  projection: 'days',
  key: key(day),
  resume: `r${place}`,
  ...(type === 'leave' ? {} : { row: { orders: place } }),
});
const snapshot = (...days: string[]) => ({
  type: 'snapshot',
  sub: '1',
  rows: days.map(() => ({ orders: 0 })),
  keys: days.map(key),
});

test('its rows are followed by their keys', async () => {
  const events: RowsEvent[] = [];
  const keep = (event: RowsEvent) => void events.push(event);
  const handlers = { enter: keep, change: keep, leave: keep, snapshot: keep, reset: keep };
  const options = { projection: 'days', filter: { shop: 'a' }, fields: ['orders'], from: 'snapshot' };
  const followed = server.connect().follow(options, handlers);
  let connection = await opened();
  expect(connection.heard('subscribe')).toEqual({ type: 'subscribe', sub: '1', ...options, fields: 'orders' });
  connection.tell(snapshot('mo'), snapshot('tu'), { type: 'ready', sub: '1', resume: 'r0' });
  connection.tell(change('enter', 'we', 1), change('leave', 'mo', 2));
  const { sub: _, ...left } = change('leave', 'mo', 2);
  const rows = [{ orders: 0 }, { orders: 0 }];
  expect(events).toHaveLength(3);
  expect(events[0]).toEqual({ type: 'snapshot', rows, keys: [key('mo'), key('tu')], resume: 'r0' });
  expect(events[2]).toEqual(left);
  expect(followed.resume).toBe('r2');
  connection.close();
  await settle(1_000);
  connection = await opened();
  expect(connection.heard('subscribe')).toMatchObject({ projection: 'days', from: 'r2' });
  connection.tell({ type: 'reset', sub: '1', reason: 'changed' }, { type: 'ready', sub: '1', resume: 'r9' });
  expect(events.slice(3)).toEqual([
    { type: 'reset', reason: 'changed' },
    { type: 'snapshot', rows: [], keys: [], resume: 'r9' },
  ]);
});

test('a collection keeps them, also where the key is not shown', async () => {
  const days = server.connect().collection({ projection: 'days', fields: ['orders'] });
  const connection = await opened();
  expect(connection.heard('subscribe')).toMatchObject({ projection: 'days', from: 'snapshot' });
  connection.tell(snapshot('mo', 'tu'), { type: 'ready', sub: '1', resume: 'r0' });
  await days.ready;
  connection.tell(change('change', 'mo', 1), change('enter', 'we', 2), change('leave', 'tu', 3));
  expect([...days]).toEqual([{ orders: 1 }, { orders: 2 }]);
  expect(days.get({ shop: 'a', day: 'mo' })).toEqual({ orders: 1 });
  expect(days.get(key('tu'))).toBe(undefined);
  // Others stay until their successors are there; what may not be seen any more goes at once.
  connection.tell({ type: 'reset', sub: '1', reason: 'changed' });
  expect([days.size, days.isCurrent]).toEqual([2, false]);
  connection.tell(snapshot('th'), { type: 'ready', sub: '1', resume: 'r9' });
  expect([days.size, days.isCurrent, days.get(key('th'))]).toEqual([1, true, { orders: 0 }]);
  connection.tell({ type: 'reset', sub: '1', reason: 'other_view' });
  expect(days.size).toBe(0);
});
