import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Backoff } from '../../src/backoff.js';
import { problem, Server } from './server.js';

const START = Date.UTC(2026, 0, 31);

let server: Server;

beforeEach(() => {
  vi.useFakeTimers({ now: START });
  server = new Server();
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

const settle = (time = 0) => vi.advanceTimersByTimeAsync(time);

const inTime = (milliseconds: number) => new Date(Date.now() + milliseconds).toISOString();

/** Answers ticket requests one after the other with what is given. */
function tickets(...answers: (string | object)[]) {
  return vi.fn(async (_url: string | URL | Request, _init?: RequestInit) => {
    const answer = answers.shift();
    if (answer === undefined) throw new TypeError('fetch failed');
    if (typeof answer === 'string') return Response.json({ ticket: answer, expires_in: 30 });
    const { status } = answer as { status: number };
    return Response.json(answer, { status });
  });
}

describe('the wait', () => {
  test('doubles up to a limit, and is any below it', () => {
    const random = vi.spyOn(Math, 'random').mockReturnValue(0.5);
    const backoff = new Backoff({ first: 100, most: 500 });
    expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([50, 100, 200, 250, 250]);
    backoff.reset();
    random.mockReturnValue(0);
    expect(backoff.next()).toBe(0);
  });

  test('grows with each attempt that fails, and with connections that end at once', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.999);
    server.connect({ backoff: { first: 1_000, most: 8_000 } });
    await settle();
    server.connection.close();
    await settle(998);
    expect(server.connections).toHaveLength(1);
    await settle(2);
    expect(server.connections).toHaveLength(2);
    server.connection.welcome();
    server.connection.close(1013);
    await settle(1_997);
    expect(server.connections).toHaveLength(2);
    await settle(3);
    expect(server.connections).toHaveLength(3);
    server.connection.welcome();
    await settle(5_000);
    server.connection.close();
    await settle(1_000);
    expect(server.connections).toHaveLength(4);
  });
});

test('the server says when to come back', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(0.999);
  const client = server.connect();
  client.subscribe('order', {}, {});
  await settle();
  const connection = server.connection;
  connection.welcome();
  connection.heard('subscribe');
  const answer = client.command('order', 'pay', { id: 'A' });
  const { ref } = connection.heard('command');
  connection.tell({ type: 'reconnect', after_ms: 4_000 });
  // Nothing new begins, what is under way is answered.
  const later = client.command('order', 'pay', { id: 'B' });
  client.subscribe('order', {}, {});
  expect(connection.inbox).toEqual([]);
  expect(connection.isOpen).toBe(true);
  connection.tell({ type: 'answer', ref, status: 200, body: {} });
  await answer;
  expect(connection.isOpen).toBe(false);
  await settle(3_999);
  expect(server.connections).toHaveLength(1);
  await settle(1);
  expect(server.connections).toHaveLength(2);
  server.connection.welcome();
  server.connection.heard('subscribe');
  server.connection.heard('subscribe');
  server.connection.tell({ type: 'answer', ref: server.connection.heard('command').ref, status: 200, body: {} });
  await later;
});

test('with nothing under way it goes at once, and after its time when the server keeps silent', async () => {
  const client = server.connect();
  await settle();
  server.connection.welcome();
  server.connection.tell({ type: 'reconnect', after_ms: 10 });
  expect(server.connection.isOpen).toBe(false);
  await settle(10);
  server.connection.welcome();
  void client.command('order', 'pay').catch(() => {});
  server.connection.tell({ type: 'reconnect', after_ms: 10 });
  expect(server.connection.isOpen).toBe(true);
  await settle(30_011);
  expect(server.connections).toHaveLength(3);
});

describe('a server that is gone', () => {
  test('is noticed by its silence', async () => {
    server.connect();
    await settle();
    const connection = server.connection;
    connection.welcome({ ping_seconds: 30 });
    await settle(20_000);
    connection.tell({ type: 'progress', sub: 'x', resume: 'r' });
    await settle(29_000);
    expect(connection.inbox).toEqual([]);
    await settle(1_000);
    connection.heard('ping');
    connection.tell({ type: 'pong' });
    await settle(30_000);
    connection.heard('ping');
    await settle(9_000);
    expect(connection.isOpen).toBe(true);
    await settle(1_000);
    expect(connection.isOpen).toBe(false);
    expect(server.states.at(-1)).toBe('waiting');
  });

  test('by an error alone', async () => {
    server.connect();
    await settle();
    server.connection.fail();
    await settle(1_000);
    expect(server.connections).toHaveLength(2);
  });

  test('before its first word too', async () => {
    server.connect();
    await settle(15_000);
    expect(server.connections[0]?.isOpen).toBe(false);
    await settle(1_000);
    expect(server.connections).toHaveLength(2);
  });
});

describe('a token', () => {
  test('is exchanged for a ticket before each connection', async () => {
    const fetch = tickets('one', 'two');
    server.connect({ token: 'eyJ', fetch });
    await settle();
    const [url, init] = fetch.mock.calls[0] ?? [];
    expect(String(url)).toBe('https://writ.example/base/v1/live/tickets');
    expect(init).toMatchObject({ method: 'POST', headers: { authorization: 'Bearer eyJ' } });
    expect(server.connection.url).toBe('wss://writ.example/base/v1/live?ticket=one');
    server.connection.welcome();
    server.connection.close();
    await settle(1_000);
    expect(server.connection.url).toBe('wss://writ.example/base/v1/live?ticket=two');
  });

  test('that is a function is asked before it expires', async () => {
    const token = vi.fn(async () => `t${token.mock.calls.length}`);
    server.connect({ token, fetch: tickets('one') });
    await settle();
    const connection = server.connection;
    connection.welcome({ expires_at: inTime(600_000), ping_seconds: 10_000 });
    for (const token of ['t2', 't3']) {
      await settle(569_000);
      expect(connection.inbox).toEqual([]);
      await settle(1_000);
      expect(connection.heard('authenticate')).toEqual({ type: 'authenticate', token });
      connection.tell({ type: 'authenticated', expires_at: inTime(600_000) });
    }
    await settle(570_000);
    connection.heard('authenticate');
    // Refused: again in a moment.
    connection.tell({ type: 'error', problem: problem('unauthenticated', 401) });
    await settle(5_000);
    expect(connection.heard('authenticate')).toMatchObject({ token: 't5' });
  });

  test('that ends is followed by the next, if there is one', async () => {
    let count = 0;
    server.connect({ token: () => `t${++count}`, fetch: tickets('one', 'two') });
    await settle();
    server.connection.welcome();
    server.connection.close(4401);
    await settle(1_000);
    expect(server.connection.url).toContain('ticket=two');
    expect(count).toBe(2);
  });

  test('that is a text and ends is the end', async () => {
    const client = server.connect({ token: 'eyJ', fetch: tickets('one') });
    const followed = client.subscribe('order', {}, {});
    await settle();
    server.connection.welcome();
    server.connection.close(4401);
    await expect(followed.closed).rejects.toMatchObject({ kind: 'signed-out' });
    expect(client.state).toBe('closed');
    expect(vi.getTimerCount()).toBe(0);
  });

  test('that is refused is the end, at once or after three', async () => {
    const refused = problem('unauthenticated', 401);
    const one = server.connect({ token: 'eyJ', fetch: tickets(refused) });
    await settle();
    expect(one.state).toBe('closed');
    const fetch = tickets(refused, refused, refused);
    const client = server.connect({ token: () => 'eyJ', fetch });
    const command = expect(client.command('order', 'pay')).rejects.toMatchObject({ kind: 'unauthenticated' });
    await settle(5_000);
    await command;
    expect(fetch).toHaveBeenCalledTimes(3);
    expect(client.state).toBe('closed');
  });

  test('for which there is no ticket at the moment waits', async () => {
    server.connect({ token: 'eyJ', fetch: tickets(problem('live-unavailable', 503), 'one') });
    await settle(1_000);
    expect(server.problems.map(({ kind }) => kind)).toEqual(['live-unavailable']);
    expect(server.connection.url).toContain('ticket=one');
  });

  test('is asked for again and again while the network is away', async () => {
    const client = server.connect({ token: 'eyJ', fetch: tickets() });
    await settle(100_000);
    expect(client.state).not.toBe('closed');
    expect(server.problems[0]).toMatchObject({ kind: 'unreachable', status: 0 });
  });
});

test('a ticket that is a text is good for one connection', async () => {
  const client = server.connect({ ticket: 'mine' });
  await settle();
  expect(server.connection.url).toContain('?ticket=mine');
  server.connection.welcome();
  server.connection.close();
  await settle(1_000);
  expect(client.state).toBe('closed');
  expect(server.problems.at(-1)).toMatchObject({ kind: 'ticket-spent' });
});

test('tickets of a function prove who it is in an open connection too', async () => {
  let count = 0;
  server.connect({ ticket: () => `t${++count}` });
  await settle();
  expect(server.connection.url).toContain('ticket=t1');
  server.connection.welcome({ expires_at: inTime(20_000) });
  await settle(10_000);
  expect(server.connection.heard('authenticate')).toEqual({ type: 'authenticate', ticket: 't2' });
});

test('cookies are renewed, and the connection with them', async () => {
  const refresh = vi.fn(async () => {});
  server.connect({ cookies: true, refresh });
  await settle();
  expect(server.connection.url).not.toContain('ticket');
  server.connection.welcome({ expires_at: inTime(20_000) });
  await settle(10_001);
  expect(refresh).toHaveBeenCalledOnce();
  expect(server.connections).toHaveLength(2);
  server.connection.welcome();
  server.connection.close(4401);
  await settle(1_000);
  expect(refresh).toHaveBeenCalledTimes(2);
  expect(server.connections).toHaveLength(3);
});

test('an expiry in a year is no expiry now', async () => {
  let count = 0;
  server.connect({ ticket: () => `t${++count}` });
  await settle();
  server.connection.welcome({ expires_at: inTime(365 * 86_400_000), ping_seconds: 2_000_000 });
  const timers = vi.spyOn(globalThis, 'setTimeout');
  await settle(60_000);
  expect(server.connection.inbox).toEqual([]);
  // A timer that waits too long doesn't wait at all.
  expect(timers).not.toHaveBeenCalled();
});

test('what belongs to nothing is told', async () => {
  const onProblem = vi.fn();
  server.connect({ onProblem });
  await settle();
  server.connection.welcome();
  server.connection.tell({ type: 'error', problem: problem('rate-limited', 429) }, { type: 'of another day' });
  expect(onProblem).toHaveBeenCalledWith(expect.objectContaining({ kind: 'rate-limited' }));
});

test('a client without any WebSocket says so', () => {
  vi.stubGlobal('WebSocket', undefined);
  expect(() => server.connect({ WebSocket: undefined as never })).toThrow('WebSocket');
  vi.unstubAllGlobals();
});

describe('a network that comes back', () => {
  /** As a browser's, which says so. Node.js has none. */
  let page: EventTarget;

  beforeEach(async () => {
    page = new EventTarget();
    for (const name of ['addEventListener', 'removeEventListener'] as const) vi.stubGlobal(name, page[name].bind(page));
    vi.spyOn(Math, 'random').mockReturnValue(0.999);
    server.connect({ backoff: { first: 10_000 } });
    await settle();
  });

  afterEach(() => {
    vi.unstubAllGlobals();
  });

  const online = async () => {
    page.dispatchEvent(new Event('online'));
    await settle();
  };

  test('ends the wait, once', async () => {
    await online();
    expect(server.connections).toHaveLength(1);
    server.connection.close();
    await settle(100);
    await online();
    expect(server.connections).toHaveLength(2);
    await online();
    await settle(14_000);
    expect(server.connections).toHaveLength(2);
    server.connection.welcome();
    await online();
    expect(server.connections).toHaveLength(2);
  });

  test('does not end one that the server asked for', async () => {
    server.connection.welcome();
    server.connection.tell({ type: 'reconnect', after_ms: 4_000 });
    await online();
    expect(server.connections).toHaveLength(1);
    await settle(4_000);
    expect(server.connections).toHaveLength(2);
    server.connection.welcome();
    server.connection.close(4429);
    await online();
    expect(server.connections).toHaveLength(2);
  });
});
