import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { LiveEvent } from '../../src/index.js';
import { change, problem, row, Server } from './server.js';

let server: Server;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server();
});

afterEach(() => {
  vi.useRealTimers();
});

/** Lets promises go on, and timers that are due. */
const settle = (time = 0) => vi.advanceTimersByTimeAsync(time);

/** The client is connected, and everything that it has open was subscribed to. */
async function opened() {
  await settle();
  server.connection.welcome();
  return server.connection;
}

/** The next connection, after a loss. */
async function again() {
  const before = server.connections.length;
  await settle(1_000);
  expect(server.connections.length).toBe(before + 1);
  return opened();
}

/** Handlers that keep what they get. */
function recorder() {
  const events: LiveEvent[] = [];
  const keep = (event: LiveEvent) => void events.push(event);
  const names = () => events.map((event) => ('id' in event ? `${event.type} ${event.id}` : event.type));
  return { events, names, handlers: { enter: keep, change: keep, leave: keep, snapshot: keep, reset: keep } };
}

test('it asks for what is wanted once the server has spoken', async () => {
  const client = server.connect();
  client.subscribe('order', { id: 'A', filter: { 'total[gte]': 5 }, fields: ['total', 'ship_to.city'] }, {});
  await settle();
  expect(server.connection.protocol).toBe('writ.v1');
  expect(server.connection.url).toBe('wss://writ.example/base/v1/live');
  expect(server.connection.inbox).toEqual([]);
  server.connection.welcome();
  expect(server.connection.heard('subscribe')).toEqual({
    type: 'subscribe',
    sub: '1',
    model: 'order',
    id: 'A',
    filter: { 'total[gte]': 5 },
    fields: 'total,ship_to.city',
    from: 'now',
  });
  expect(server.states).toEqual(['connecting', 'open']);
});

test('after a loss it goes on behind what came in', async () => {
  const { names, handlers } = recorder();
  const followed = server.connect().subscribe('order', {}, handlers);
  let connection = await opened();
  connection.heard('subscribe');
  expect(followed.resume).toBe(null);
  connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' });
  expect(followed.resume).toBe('r0');
  connection.tell(change('1', 'a', 1, 'enter'), change('1', 'a', 2, 'leave'));
  expect(names()).toEqual(['enter a', 'leave a']);
  expect(followed.resume).toBe('r2');
  connection.close();
  connection = await again();
  expect(connection.heard('subscribe')).toMatchObject({ from: 'r2' });
  connection.tell(change('1', 'b', 3), { type: 'ready', sub: '1', resume: 'r5' });
  expect(names()).toEqual(['enter a', 'leave a', 'change b']);
  connection.tell({ type: 'progress', sub: '1', resume: 'r9' });
  connection.close();
  expect((await again()).heard('subscribe')).toMatchObject({ from: 'r9' });
});

test('a snapshot comes whole, or anew', async () => {
  const { events, names, handlers } = recorder();
  const followed = server.connect().subscribe('order', { from: 'snapshot' }, handlers);
  let connection = await opened();
  expect(connection.heard('subscribe')).toMatchObject({ from: 'snapshot' });
  connection.tell({ type: 'snapshot', sub: '1', rows: [row('a')] });
  connection.close();
  connection = await again();
  expect(connection.heard('subscribe')).toMatchObject({ from: 'snapshot' });
  connection.tell({ type: 'snapshot', sub: '1', rows: [row('a')] }, { type: 'snapshot', sub: '1', rows: [row('b')] });
  expect(names()).toEqual([]);
  connection.tell({ type: 'ready', sub: '1', resume: 'r3' });
  expect(events).toEqual([{ type: 'snapshot', rows: [row('a'), row('b')], resume: 'r3' }]);
  expect(followed.resume).toBe('r3');
});

test('a snapshot of nothing is one too', async () => {
  const { events, handlers } = recorder();
  server.connect().subscribe('order', { from: 'snapshot' }, handlers);
  (await opened()).tell({ type: 'ready', sub: '1', resume: 'r3' });
  expect(events).toEqual([{ type: 'snapshot', rows: [], resume: 'r3' }]);
});

test('a reset is told once, whatever happens before its snapshot', async () => {
  const { names, handlers } = recorder();
  const followed = server.connect().subscribe('order', { from: 'old' }, handlers);
  expect(followed.resume).toBe('old');
  let connection = await opened();
  expect(connection.heard('subscribe')).toMatchObject({ from: 'old' });
  connection.tell({ type: 'reset', sub: '1', reason: 'too_old' }, { type: 'snapshot', sub: '1', rows: [row('a')] });
  connection.close();
  expect(followed.resume).toBe('old');
  connection = await again();
  expect(connection.heard('subscribe')).toMatchObject({ from: 'snapshot' });
  connection.tell({ type: 'ready', sub: '1', resume: 'r7' });
  expect(names()).toEqual(['reset', 'snapshot']);
  expect(followed.resume).toBe('r7');
});

test('a reset in the middle empties what was collected', async () => {
  const { events, handlers } = recorder();
  server.connect().subscribe('order', { from: 'snapshot' }, handlers);
  const connection = await opened();
  connection.tell(
    { type: 'snapshot', sub: '1', rows: [row('a')] },
    { type: 'reset', sub: '1', reason: 'repartitioned' },
    { type: 'snapshot', sub: '1', rows: [row('b')] },
    { type: 'ready', sub: '1', resume: 'r7' },
  );
  expect(events.at(-1)).toEqual({ type: 'snapshot', rows: [row('b')], resume: 'r7' });
});

test('who was too slow for the server goes on at once', async () => {
  const { handlers } = recorder();
  server.connect().subscribe('order', {}, handlers);
  const connection = await opened();
  connection.heard('subscribe');
  connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' }, change('1', 'a', 1));
  connection.tell({ type: 'ended', sub: '1', reason: 'lagged', resume: 'r1' });
  expect(connection.heard('subscribe')).toMatchObject({ sub: '2', from: 'r1' });
});

test('other permissions begin with a snapshot', async () => {
  const { events, names, handlers } = recorder();
  server.connect().subscribe('order', {}, handlers);
  let connection = await opened();
  connection.heard('subscribe');
  connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' }, { type: 'ended', sub: '1', reason: 'permissions' });
  expect(events).toEqual([{ type: 'reset', reason: 'permissions' }]);
  expect(connection.heard('subscribe')).toMatchObject({ sub: '2', from: 'snapshot' });
  // Again before the snapshot, and with the connection that goes when nothing is left.
  connection.tell({ type: 'ended', sub: '2', reason: 'permissions' });
  connection.close(4403);
  connection = await again();
  connection.tell({ type: 'ready', sub: '1', resume: 'r4' });
  expect(names()).toEqual(['reset', 'snapshot']);
});

test('another account is like other permissions', async () => {
  const { names, handlers } = recorder();
  server.connect().subscribe('order', {}, handlers);
  let connection = await opened();
  connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' });
  connection.close();
  await settle(1_000);
  connection = server.connection;
  connection.welcome({ account: 'eve' });
  expect(connection.heard('subscribe')).toMatchObject({ from: 'snapshot' });
  expect(names()).toEqual(['reset']);
});

test('a fault of the server is tried again, one of the request ends it', async () => {
  const { handlers } = recorder();
  const client = server.connect();
  const error = vi.fn();
  const followed = client.subscribe('order', {}, { ...handlers, error });
  let connection = await opened();
  connection.heard('subscribe');
  connection.tell({ type: 'error', sub: '1', problem: problem('live-unavailable', 503) });
  connection.tell({ type: 'ended', sub: '1', reason: 'failed' });
  expect(connection.inbox).toEqual([]);
  await settle(1_000);
  expect(connection.heard('subscribe')).toMatchObject({ sub: '2' });
  connection.tell({ type: 'error', sub: '2', problem: problem('invalid-query', 400) });
  await expect(followed.closed).rejects.toMatchObject({ kind: 'invalid-query', status: 400 });
  expect(error).toHaveBeenCalledOnce();
  connection.close();
  connection = await again();
  expect(connection.inbox).toEqual([]);
});

describe('handlers', () => {
  test('are called one after the other, and what they have done counts', async () => {
    const done: (() => void)[] = [];
    const calls: string[] = [];
    const followed = server.connect().subscribe(
      'order',
      {},
      {
        change: ({ id }) => {
          calls.push(id);
          return new Promise<void>((resolve) => done.push(resolve));
        },
      },
    );
    let connection = await opened();
    connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' }, change('1', 'a', 1), change('1', 'b', 2));
    expect(calls).toEqual(['a']);
    expect(followed.resume).toBe('r0');
    connection.close();
    connection = await again();
    // What waits isn't asked for again.
    expect(connection.heard('subscribe')).toMatchObject({ from: 'r2' });
    connection.tell({ type: 'progress', sub: '1', resume: 'r5' });
    done[0]?.();
    await settle();
    expect(calls).toEqual(['a', 'b']);
    expect(followed.resume).toBe('r1');
    done[1]?.();
    await settle();
    expect(followed.resume).toBe('r5');
  });

  test('that fail end it, and what they failed at was not taken', async () => {
    const error = vi.fn();
    const followed = server.connect().subscribe(
      'order',
      {},
      {
        change: async ({ id }) => {
          if (id === 'b') throw new Error('full');
        },
        error,
      },
    );
    const connection = await opened();
    connection.heard('subscribe');
    connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' }, change('1', 'a', 1), change('1', 'b', 2));
    await settle();
    await expect(followed.closed).rejects.toThrow('full');
    expect(error).toHaveBeenCalledOnce();
    expect(followed.resume).toBe('r1');
    expect(connection.heard('unsubscribe')).toEqual({ type: 'unsubscribe', sub: '1' });
  });

  test('that are slow make the server wait, and lose nothing', async () => {
    const calls: string[] = [];
    let go: () => void = () => {};
    server.connect().subscribe(
      'order',
      { buffer: 4 },
      {
        change: ({ id }) => {
          calls.push(id);
          return new Promise<void>((resolve) => {
            go = resolve;
          });
        },
      },
    );
    const connection = await opened();
    connection.heard('subscribe');
    connection.tell({ type: 'subscribed', sub: '1', resume: 'r0' });
    for (const place of [1, 2, 3, 4, 5, 6, 7]) connection.tell(change('1', `${place}`, place));
    expect(connection.inbox.map(({ type }) => type)).toEqual(['unsubscribe']);
    connection.heard('unsubscribe');
    // 6 and 7 were on their way: they come again.
    go();
    await settle();
    expect(connection.inbox).toEqual([]);
    go();
    await settle();
    expect(connection.heard('subscribe')).toMatchObject({ sub: '2', from: 'r5' });
    connection.tell({ type: 'ended', sub: '1', reason: 'unsubscribed' }, change('2', '6', 6));
    for (let call = 0; call < 6; call += 1) {
      go();
      await settle();
    }
    expect(calls).toEqual(['1', '2', '3', '4', '5', '6']);
  });
});

describe('an iterable', () => {
  test('begins when it is asked, and an event is taken when the next one is wanted', async () => {
    const followed = server.connect().subscribe('order', { from: 'r0' });
    const events = followed[Symbol.asyncIterator]();
    const connection = await opened();
    expect(connection.inbox).toEqual([]);
    const first = events.next();
    connection.heard('subscribe');
    connection.tell(change('1', 'a', 1), change('1', 'b', 2));
    expect((await first).value).toMatchObject({ id: 'a' });
    expect(followed.resume).toBe('r0');
    expect((await events.next()).value).toMatchObject({ id: 'b' });
    expect(followed.resume).toBe('r1');
    const third = events.next();
    expect(followed.resume).toBe('r2');
    followed.close();
    expect(await third).toEqual({ done: true, value: undefined });
    await followed.closed;
    expect(connection.heard('unsubscribe')).toEqual({ type: 'unsubscribe', sub: '1' });
  });

  test('that nobody asks for more has the server wait', async () => {
    const followed = server.connect().subscribe('order', { from: 'r0', buffer: 4 });
    const events = followed[Symbol.asyncIterator]();
    const first = events.next();
    const connection = await opened();
    connection.heard('subscribe');
    for (const place of [1, 2, 3, 4, 5, 6, 7]) connection.tell(change('1', `${place}`, place));
    expect(connection.heard('unsubscribe')).toMatchObject({ sub: '1' });
    await first;
    const ids: unknown[] = [];
    for (let asked = 0; asked < 2; asked += 1) ids.push(((await events.next()).value as { id: string }).id);
    expect(ids).toEqual(['2', '3']);
    expect(connection.heard('subscribe')).toMatchObject({ sub: '2', from: 'r5' });
  });

  test('ends with what has ended it', async () => {
    const followed = server.connect().subscribe('order');
    const events = followed[Symbol.asyncIterator]();
    const first = events.next();
    const connection = await opened();
    connection.tell({ type: 'error', sub: '1', problem: problem('unknown-model', 404) });
    await expect(first).rejects.toMatchObject({ kind: 'unknown-model' });
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  test('whose loop is left is closed, and the last event not taken', async () => {
    const followed = server.connect().subscribe('order', { from: 'r0' });
    const loop = (async () => {
      for await (const event of followed) if (event.type === 'change') break;
    })();
    const connection = await opened();
    connection.heard('subscribe');
    connection.tell(change('1', 'a', 1));
    await loop;
    await followed.closed;
    expect(followed.resume).toBe('r0');
    connection.heard('unsubscribe');
  });
});

test('an unsubscribe that was one message too many is sent again', async () => {
  const followed = server.connect().subscribe('order', {}, {});
  const connection = await opened();
  connection.heard('subscribe');
  followed.close();
  connection.heard('unsubscribe');
  connection.tell({ type: 'error', sub: '1', problem: problem('rate-limited', 429) });
  connection.tell(change('1', 'a', 1));
  await settle(1_000);
  expect(connection.heard('unsubscribe')).toMatchObject({ sub: '1' });
  connection.tell({ type: 'ended', sub: '1', reason: 'unsubscribed' });
  await settle(10_000);
  expect(connection.inbox).toEqual([]);
});

test('an unsubscribe is of no use on another connection', async () => {
  const client = server.connect();
  const followed = client.subscribe('order', {}, {});
  const connection = await opened();
  followed.close();
  connection.tell({ type: 'error', sub: '1', problem: problem('rate-limited', 429) });
  connection.close();
  await settle(500);
  server.connection.welcome();
  await settle(1_000);
  expect(server.connection.inbox).toEqual([]);
});

test('a closed client ends them all', async () => {
  const client = server.connect();
  const followed = client.subscribe('order', {}, {});
  await opened();
  client.close();
  await followed.closed;
  expect(server.connection.isOpen).toBe(false);
  await expect(client.subscribe('order').closed).rejects.toMatchObject({ kind: 'closed' });
  expect(vi.getTimerCount()).toBe(0);
});

describe('a collection', () => {
  test('follows its rows', async () => {
    const orders = server.connect().collection('order', { filter: { status: 'paid' } });
    const heard: string[] = [];
    const stop = orders.subscribe(({ type }) => heard.push(type));
    const connection = await opened();
    expect(connection.heard('subscribe')).toMatchObject({ from: 'snapshot', filter: { status: 'paid' } });
    expect(orders.isCurrent).toBe(false);
    connection.tell({ type: 'snapshot', sub: '1', rows: [row('a'), row('b')] });
    expect(orders.size).toBe(0);
    connection.tell({ type: 'ready', sub: '1', resume: 'r0' });
    await orders.ready;
    connection.tell(change('1', 'c', 1, 'enter'), change('1', 'a', 2), change('1', 'b', 3, 'leave'));
    expect([...orders].map(({ id, version }) => [id, version])).toEqual([
      ['a', 2],
      ['c', 1],
    ]);
    expect(orders.revision).toBe(4);
    stop();
    connection.tell({ type: 'reset', sub: '1', reason: 'too_old' });
    expect([orders.size, orders.isCurrent]).toEqual([2, false]);
    connection.tell({ type: 'snapshot', sub: '1', rows: [row('d')] }, { type: 'ready', sub: '1', resume: 'r9' });
    expect([[...orders.rows.keys()], orders.isCurrent]).toEqual([['d'], true]);
    expect(heard).toEqual(['snapshot', 'enter', 'change', 'leave']);
  });

  test('drops at once what its reader may not see any more', async () => {
    const orders = server.connect().collection('order');
    const connection = await opened();
    connection.tell({ type: 'snapshot', sub: '1', rows: [row('a')] }, { type: 'ready', sub: '1', resume: 'r0' });
    connection.tell({ type: 'ended', sub: '1', reason: 'permissions' });
    expect(orders.size).toBe(0);
  });

  test('that gets no rows says why', async () => {
    const orders = server.connect().collection('order');
    (await opened()).tell({ type: 'error', sub: '1', problem: problem('invalid-query', 400) });
    await expect(orders.ready).rejects.toMatchObject({ kind: 'invalid-query' });
  });
});
