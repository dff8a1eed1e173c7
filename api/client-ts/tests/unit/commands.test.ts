import { afterEach, beforeEach, expect, test, vi } from 'vitest';
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

async function opened() {
  await settle(1_000);
  server.connection.welcome();
  return server.connection;
}

const taken = (ref: unknown) => ({
  type: 'answer',
  ref,
  status: 200,
  body: { id: 'x', version: 2 },
  position: 'order:0:1',
});

test('a command waits for a connection, and gets its answer', async () => {
  const client = server.connect();
  const answer = client.command('order', 'pay', { id: 'A', input: { reference: 'r' }, ifMatch: 1, wait: 'projected' });
  const connection = await opened();
  const sent = connection.heard('command');
  expect(sent).toMatchObject({
    model: 'order',
    command: 'pay',
    id: 'A',
    input: { reference: 'r' },
    if_match: 1,
    wait: 'projected',
  });
  expect(sent.idempotency_key).toMatch(/^[0-9a-f-]{36}$/);
  connection.tell(taken(sent.ref));
  expect(await answer).toEqual({ status: 200, body: { id: 'x', version: 2 }, position: 'order:0:1' });
});

test('one without an answer is sent again with its key', async () => {
  const client = server.connect();
  const answer = client.command('order', 'pay', { id: 'A' });
  const first = (await opened()).heard('command');
  server.connection.close();
  const connection = await opened();
  const second = connection.heard('command');
  expect(second).toEqual(first);
  connection.tell(taken(second.ref));
  expect(await answer).toMatchObject({ status: 200 });
  connection.close();
  expect((await opened()).inbox).toEqual([]);
});

test('one without a key is not', async () => {
  const client = server.connect();
  const answer = client.command('order', 'pay', { id: 'A', idempotencyKey: false });
  const refused = expect(answer).rejects.toMatchObject({ kind: 'unknown-outcome', status: 0 });
  expect((await opened()).heard('command')).not.toHaveProperty('idempotency_key');
  server.connection.close();
  await refused;
  expect((await opened()).inbox).toEqual([]);
});

test('a refusal is a problem', async () => {
  const client = server.connect();
  const answer = client.command('order', 'pay', { id: 'A', idempotencyKey: 'mine' });
  const refused = expect(answer).rejects.toMatchObject({ name: 'WritProblem', kind: 'wrong-state', status: 409 });
  const connection = await opened();
  const { ref, idempotency_key } = connection.heard('command');
  expect(idempotency_key).toBe('mine');
  connection.tell({ type: 'error', ref, problem: problem('wrong-state', 409) });
  await refused;
});

test('one that the server had no room for comes again', async () => {
  const client = server.connect();
  const answer = client.command('order', 'pay', { id: 'A' });
  const connection = await opened();
  for (const kind of ['overloaded', 'rate-limited']) {
    const { ref } = connection.heard('command');
    connection.tell({ type: 'error', ref, problem: problem(kind, 503) });
    expect(connection.inbox).toEqual([]);
    await settle(1_000);
  }
  connection.tell(taken(connection.heard('command').ref));
  expect(await answer).toMatchObject({ status: 200 });
});

test('only so many are under way', async () => {
  const client = server.connect({ maxCommands: 2 });
  const answers = ['a', 'b', 'c'].map((id) => client.command('order', 'pay', { id }));
  const connection = await opened();
  const refs = [connection.heard('command').ref, connection.heard('command').ref];
  expect(connection.inbox).toEqual([]);
  connection.tell(taken(refs[1]));
  const third = connection.heard('command');
  expect(third).toMatchObject({ id: 'c' });
  connection.tell(taken(refs[0]), taken(third.ref));
  expect(await Promise.all(answers)).toHaveLength(3);
});

test('who gives up hears no answer', async () => {
  const client = server.connect({ maxCommands: 1 });
  const controller = new AbortController();
  const answer = client.command('order', 'pay', { id: 'A', signal: controller.signal });
  const given = expect(answer).rejects.toThrow('enough');
  const connection = await opened();
  const { ref } = connection.heard('command');
  controller.abort(new Error('enough'));
  await given;
  // The server is still at it.
  void client.command('order', 'pay', { id: 'B' }).catch(() => {});
  expect(connection.inbox).toEqual([]);
  connection.tell(taken(ref));
  expect(connection.heard('command')).toMatchObject({ id: 'B' });
  client.close();
  await expect(client.command('order', 'pay', { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow();
});

test('one is not sent in the name of another', async () => {
  const client = server.connect();
  const answers = ['a', 'b'].map((id) => client.command('order', 'pay', { id }));
  (await opened()).close();
  const refused = answers.map((answer) => expect(answer).rejects.toMatchObject({ kind: 'other-account' }));
  await settle(1_000);
  server.connection.welcome({ account: 'eve' });
  await Promise.all(refused);
  expect(server.connection.inbox).toEqual([]);
});

test('one that is too large for a message is not sent', async () => {
  const client = server.connect();
  const connection = await opened();
  const large = client.command('order', 'note', { id: 'A', input: { text: 'ä'.repeat(40_000) } });
  await expect(large).rejects.toMatchObject({ kind: 'too-large' });
  // Of a server that takes less.
  const answers = [1_000, 20_000].map((size) => client.command('order', 'note', { input: { text: 'a'.repeat(size) } }));
  const refused = expect(answers[1]).rejects.toMatchObject({ kind: 'too-large' });
  connection.heard('command');
  connection.heard('command');
  connection.close(1009);
  await refused;
  const again = await opened();
  again.tell(taken(again.heard('command').ref));
  expect(again.inbox).toEqual([]);
  await answers[0];
});

test('a closed client answers all', async () => {
  const client = server.connect();
  const refused = expect(client.command('order', 'pay')).rejects.toMatchObject({ kind: 'closed' });
  const connection = await opened();
  connection.tell({ type: 'error', ref: connection.heard('command').ref, problem: problem('overloaded', 503) });
  client.close();
  await refused;
  await expect(client.command('order', 'pay')).rejects.toMatchObject({ kind: 'closed' });
  expect(vi.getTimerCount()).toBe(0);
});
