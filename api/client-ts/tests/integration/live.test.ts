import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { build, type Rollup } from 'vite';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket as Ws } from 'ws';
import { connect, type WebSocketConstructor } from '../../src/index.js';
import projection from '../types/projection.json' with { type: 'json' };
import { Cutter } from './cutter.js';
import { type Given, type Report, scenario } from './scenario.js';
import { browser, server } from './setup.js';
import { type Together, type TogetherReport, together } from './together.js';

const token = process.env.WRIT_TOKEN ?? '';
const TODOS = 120;

let cutter: Cutter;

afterEach(() => cutter?.stop());

const given = (): Given => ({ url: cutter.url, token, list: randomUUID(), todos: TODOS });

/** Nothing was missing or twice, and it was no walkover. */
function check(name: string, report: Report): void {
  process.stderr.write(`${name}: ${JSON.stringify({ ...report, cuts: cutter.cuts })}\n`);
  expect(report.faults).toEqual([]);
  expect(report.resets).toBe(0);
  expect(report.connections).toBeGreaterThan(5);
  expect(report.rows).toBeGreaterThan(TODOS / 2);
}

/** The same of projections and channels. */
function checkTogether(name: string, report: TogetherReport): void {
  process.stderr.write(`${name}: ${JSON.stringify({ ...report, cuts: cutter.cuts })}\n`);
  expect(report.faults).toEqual([]);
  expect(report.joins).toBeGreaterThan(5);
  expect(report.heard).toBeGreaterThan(0);
  expect(report.said).toBeGreaterThan(0);
  expect(report.rows).toBe(6);
}

/** The scenarios for a page, as one script. */
async function bundle(): Promise<string> {
  const entry = fileURLToPath(new URL('page.ts', import.meta.url));
  const lib = { entry, formats: ['iife' as const], name: 'tested', fileName: 'scenario' };
  const built = (await build({
    logLevel: 'error',
    configFile: false,
    build: { write: false, lib },
  })) as Rollup.RollupOutput[];
  return built[0]?.output[0].code ?? '';
}

const givenTogether = (): Together => ({ url: cutter.url, token, list: randomUUID() });

test.skipIf(server === undefined)('the projection of the type tests is that of the server', async () => {
  const answer = await fetch(new URL('/openapi.json', server));
  type Document = { paths: Record<string, unknown>; components: { schemas: Record<string, unknown> } };
  const [theirs, own] = [(await answer.json()) as Document, projection as Document];
  expect(Object.keys(own.paths)).toHaveLength(2);
  for (const [path, item] of Object.entries(own.paths)) expect(theirs.paths[path]).toEqual(item);
  for (const [name, schema] of Object.entries(own.components.schemas))
    expect(theirs.components.schemas[name]).toEqual(schema);
});

test.skipIf(server === undefined)('who may not be in a channel any more is out, and stays out', async () => {
  const client = connect({ url: server as string, token });
  const { body } = await client.command('todo', 'create', {
    input: { list: randomUUID(), title: 'a' },
    wait: 'projected',
  });
  const seat = client.channel('seat', { id: body.id });
  await seat.ready;
  const reasons: string[] = [];
  seat.subscribe((event) => event.type === 'ended' && reasons.push(event.reason));
  await seat.broadcast('waved');
  await client.command('todo', 'delete', { id: body.id, wait: 'projected' });
  await expect(seat.closed).rejects.toMatchObject({ kind: 'permissions' });
  expect(reasons).toEqual(['permissions']);
  await expect(client.channel('seat', { id: body.id }).ready).rejects.toMatchObject({ status: 404 });
  client.close();
});

describe.skipIf(server === undefined)('a client whose connection is cut at random', () => {
  test('has what the server has, by the WebSocket of Node.js', async () => {
    cutter = await Cutter.start(server as string);
    check('Node.js', await scenario(given()));
  });

  test('has what the server has, by ws', async () => {
    cutter = await Cutter.start(server as string);
    check('ws', await scenario({ ...given(), WebSocket: Ws as unknown as WebSocketConstructor }));
  });

  test('is where the others are, by the WebSocket of Node.js', async () => {
    cutter = await Cutter.start(server as string);
    checkTogether('Node.js', await together(givenTogether()));
  });

  test('is where the others are, by ws', async () => {
    cutter = await Cutter.start(server as string);
    checkTogether('ws', await together({ ...givenTogether(), WebSocket: Ws as unknown as WebSocketConstructor }));
  });

  test.skipIf(browser === undefined)('has all of it in a browser too', async () => {
    cutter = await Cutter.start(server as string, {
      '/page': { type: 'text/html', text: '<!doctype html><script src="/scenario.js"></script>' },
      '/scenario.js': { type: 'text/javascript', text: await bundle() },
    });
    const started = await chromium.launch({
      executablePath: browser as string,
      args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'],
    });
    try {
      const page = await started.newPage();
      await page.goto(`${cutter.url}/page`);
      type Tested = { tested: { scenario: typeof scenario; together: typeof together } };
      const run = (wanted: Given) => (globalThis as unknown as Tested).tested.scenario(wanted);
      check(`Chromium ${started.version()}`, await page.evaluate(run, given()));
      const runTogether = (wanted: Together) => (globalThis as unknown as Tested).tested.together(wanted);
      checkTogether(`Chromium ${started.version()}`, await page.evaluate(runTogether, givenTogether()));
    } finally {
      await started.close();
    }
  });
});
