import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ChannelEvent } from '../../src/index.js';
import { problem, Server } from './server.js';

let server: Server;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server();
});

afterEach(() => {
  vi.useRealTimers();
});

const settle = (time = 0) => vi.advanceTimersByTimeAsync(time);

async function opened(more: object = {}) {
  await settle();
  server.connection.welcome(more);
  return server.connection;
}

async function again(more: object = {}) {
  await settle(1_000);
  return opened(more);
}

const member = (id: string, name = id) => ({ member: id, account: null, state: { name }, since: '' });
const joined = (sub: unknown, ...members: string[]) => ({
  type: 'joined',
  sub,
  member: 'me',
  members: members.map((id) => member(id)),
});
const names = (members: Iterable<{ state: Record<string, unknown> }>) => [...members].map(({ state }) => state.name);

/** Somebody who is at the desk, and the server's end. */
async function there() {
  const client = server.connect();
  const desk = client.channel('desk', { id: 'A', state: { name: 'me' } });
  const connection = await opened();
  const join = connection.heard('join');
  connection.tell(joined(join.sub, 'me', 'bob'));
  await desk.ready;
  return { client, desk, connection, join };
}

test('it joins with what is said of oneself, and knows who is there', async () => {
  const { desk, connection, join } = await there();
  expect(join).toEqual({ type: 'join', sub: '1', channel: 'desk', id: 'A', state: { name: 'me' } });
  expect([desk.member, desk.isJoined, desk.members.isCurrent]).toEqual(['me', true, true]);
  const told: unknown[] = [];
  desk.members.subscribe((event) => told.push(event));
  const { revision } = desk.members;
  connection.tell({ type: 'presence', sub: '1', joined: [member('cyd'), member('bob', 'Bob')], left: ['me', 'who'] });
  expect(names(desk.members)).toEqual(['Bob', 'cyd']);
  expect(told).toEqual([
    { type: 'presence', joined: [member('cyd')], changed: [member('bob', 'Bob')], left: [member('me')] },
  ]);
  expect(desk.members.revision).toBe(revision + 1);
  connection.tell({ type: 'members', sub: '1', members: [member('dan')] });
  expect(names(desk.members)).toEqual(['dan']);
});

test('a broadcast is answered, or refused, and is none without a connection', async () => {
  const { desk, connection } = await there();
  const said = desk.broadcast('typing', { is_typing: true }, { echo: true });
  const { ref, ...message } = connection.heard('broadcast');
  expect(message).toEqual({ type: 'broadcast', sub: '1', event: 'typing', payload: { is_typing: true }, echo: true });
  connection.tell({ type: 'sent', ref });
  await said;
  const refused = expect(desk.broadcast('waved')).rejects.toMatchObject({ kind: 'overloaded' });
  connection.tell({
    type: 'error',
    sub: '1',
    ref: connection.heard('broadcast').ref,
    problem: problem('overloaded', 503),
  });
  await refused;
  expect(desk.isJoined).toBe(true);
  const lost = expect(desk.broadcast('waved')).rejects.toMatchObject({ kind: 'unknown-outcome' });
  connection.close();
  await lost;
  await expect(desk.broadcast('waved')).rejects.toMatchObject({ kind: 'not-joined' });
  // Nor is it said again.
  expect((await again()).inbox.map(({ type }) => type)).toEqual(['join']);
});

test('one that is too large costs nobody the connection', async () => {
  const { desk, connection } = await there();
  await expect(desk.broadcast('a', { b: 'x'.repeat(70_000) })).rejects.toMatchObject({ kind: 'too-large' });
  expect(connection.inbox).toEqual([]);
});

test('listeners hear what they ask for, loops all of it', async () => {
  const { desk, connection } = await there();
  const heard: unknown[] = [];
  const stop = desk.on('typing', ({ payload, member }) => heard.push([payload, member]));
  const loop = desk[Symbol.asyncIterator]();
  const say = (event: string, n: number) =>
    connection.tell({ type: 'broadcast', sub: '1', event, payload: { n }, member: 'bob', account: null, at: '' });
  say('typing', 1);
  say('waved', 2);
  connection.tell({ type: 'missed', sub: '1', count: 3 });
  stop();
  say('typing', 4);
  expect(heard).toEqual([[{ n: 1 }, 'bob']]);
  expect(desk.missed).toBe(3);
  const told: ChannelEvent[] = [];
  for (let count = 0; count < 4; count += 1) told.push((await loop.next()).value as ChannelEvent);
  expect(told.map((event) => (event.type === 'broadcast' ? event.payload.n : event))).toEqual([
    1,
    2,
    { type: 'missed', count: 3 },
    4,
  ]);
  // Who leaves the loop stays in the channel.
  await loop.return?.();
  expect(desk.isJoined).toBe(true);
  expect(connection.inbox).toEqual([]);
});

test('a slow loop loses the oldest, and hears how many', async () => {
  const desk = server.connect().channel('desk', { buffer: 2 });
  const connection = await opened();
  connection.tell(joined(connection.heard('join').sub));
  const loop = desk[Symbol.asyncIterator]();
  for (const n of [1, 2, 3, 4, 5])
    connection.tell({ type: 'broadcast', sub: '1', event: 'a', payload: { n }, member: null, account: null, at: '' });
  expect((await loop.next()).value).toEqual({ type: 'missed', count: 3 });
  expect((await loop.next()).value).toMatchObject({ payload: { n: 4 } });
  expect((await loop.next()).value).toMatchObject({ payload: { n: 5 } });
});

describe('after a loss', () => {
  test('it joins again with what was said last', async () => {
    const { desk, connection } = await there();
    const told: string[] = [];
    desk.subscribe((event) => told.push(event.type === 'ended' ? event.reason : event.type));
    const set = desk.setState({ name: 'I' });
    connection.tell({ type: 'sent', ref: connection.heard('presence').ref });
    await set;
    connection.close();
    expect([desk.isJoined, desk.members.isCurrent, desk.members.size]).toEqual([false, false, 2]);
    const next = await again();
    expect(next.heard('join')).toMatchObject({ state: { name: 'I' } });
    next.tell(joined('1', 'me'));
    expect(names(desk.members)).toEqual(['me']);
    expect(told).toEqual(['lost', 'joined', 'members']);
  });

  test('what was said of oneself meanwhile, or had no answer, goes with the join', async () => {
    const { desk, connection } = await there();
    const unanswered = desk.setState({ name: 'first' });
    connection.heard('presence');
    connection.close();
    const meanwhile = desk.setState({ name: 'second' });
    const next = await again();
    expect(next.heard('join')).toMatchObject({ state: { name: 'second' } });
    const late = desk.setState(null);
    expect(next.inbox).toEqual([]);
    next.tell(joined('1'));
    const { ref, state } = next.heard('presence');
    expect(state).toBe(null);
    next.tell({ type: 'sent', ref });
    await Promise.all([unanswered, meanwhile, late]);
    next.close();
    expect((await again()).heard('join')).not.toHaveProperty('state');
  });

  test('somebody else says nothing in its name', async () => {
    const { desk, connection } = await there();
    connection.close();
    const next = await again({ account: 'bob' });
    expect(next.inbox).toEqual([]);
    await expect(desk.closed).rejects.toMatchObject({ kind: 'other-account' });
  });
});

test('what the server refuses of oneself is not brought along', async () => {
  const { desk, connection } = await there();
  const refused = expect(desk.setState({ name: 5 })).rejects.toMatchObject({ kind: 'invalid-input' });
  const { ref } = connection.heard('presence');
  connection.tell({ type: 'error', sub: '1', ref, problem: problem('invalid-input', 422) });
  await refused;
  connection.close();
  expect((await again()).heard('join')).toMatchObject({ state: { name: 'me' } });
});

describe('the end', () => {
  test('that is a fault is waited out', async () => {
    const { desk, connection } = await there();
    connection.tell({ type: 'ended', sub: '1', reason: 'failed' });
    expect(desk.isJoined).toBe(false);
    expect(connection.inbox).toEqual([]);
    await settle(250);
    connection.tell({
      type: 'error',
      sub: connection.heard('join').sub,
      problem: problem('live-unavailable', 503),
    });
    await settle(500);
    const { sub } = connection.heard('join');
    expect(sub).toBe('3');
    connection.tell(joined(sub, 'me'));
    expect(desk.isJoined).toBe(true);
  });

  test('by permissions is the end, and nobody is shown any more', async () => {
    const { desk, connection } = await there();
    const loop = desk[Symbol.asyncIterator]();
    connection.tell({ type: 'ended', sub: '1', reason: 'permissions' });
    expect(desk.members.size).toBe(0);
    await expect(desk.closed).rejects.toMatchObject({ kind: 'permissions' });
    await expect(desk.broadcast('a')).rejects.toMatchObject({ kind: 'permissions' });
    await expect(desk.setState(null)).rejects.toMatchObject({ kind: 'permissions' });
    expect((await loop.next()).value).toEqual({ type: 'ended', reason: 'permissions' });
    await expect(loop.next()).rejects.toMatchObject({ kind: 'permissions' });
    connection.close();
    await settle(60_000);
    expect((await opened()).inbox.filter(({ type }) => type === 'join')).toEqual([]);
  });

  test('by a refusal rejects who waits', async () => {
    const desk = server.connect().channel('desk', { id: 'A' });
    const connection = await opened();
    connection.tell({ type: 'error', sub: connection.heard('join').sub, problem: problem('not-found', 404) });
    await expect(desk.ready).rejects.toMatchObject({ kind: 'not-found' });
    await expect(desk.closed).rejects.toMatchObject({ kind: 'not-found' });
  });

  test('by leaving', async () => {
    const { client, desk, connection } = await there();
    const loop = desk[Symbol.asyncIterator]();
    desk.leave();
    expect(connection.heard('unsubscribe')).toMatchObject({ sub: '1' });
    await desk.closed;
    expect(await loop.next()).toEqual({ done: true, value: undefined });
    connection.tell({ type: 'ended', sub: '1', reason: 'unsubscribed' });
    client.close();
    expect(vi.getTimerCount()).toBe(0);
    await expect(client.channel('desk').ready).rejects.toMatchObject({ kind: 'closed' });
  });
});
