import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { build, type Rollup } from 'vite';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket as Ws } from 'ws';
import type { WebSocketConstructor } from '../../src/index.js';
import { Cutter } from './cutter.js';
import { type Given, type Report, scenario } from './scenario.js';
import { browser, server } from './setup.js';

const token = process.env.WRIT_TOKEN ?? '';
const TODOS = 120;

let cutter: Cutter;

afterEach(() => cutter.stop());

const given = (): Given => ({ url: cutter.url, token, list: randomUUID(), todos: TODOS });

/** Nothing was missing or twice, and it was no walkover. */
function check(name: string, report: Report): void {
  process.stderr.write(`${name}: ${JSON.stringify({ ...report, cuts: cutter.cuts })}\n`);
  expect(report.faults).toEqual([]);
  expect(report.resets).toBe(0);
  expect(report.connections).toBeGreaterThan(5);
  expect(report.rows).toBeGreaterThan(TODOS / 2);
}

/** The scenario for a page, as one script. */
async function bundle(): Promise<string> {
  const entry = fileURLToPath(new URL('scenario.ts', import.meta.url));
  const lib = { entry, formats: ['iife' as const], name: 'tested', fileName: 'scenario' };
  const built = (await build({
    logLevel: 'error',
    configFile: false,
    build: { write: false, lib },
  })) as Rollup.RollupOutput[];
  return built[0]?.output[0].code ?? '';
}

describe.skipIf(server === undefined)('a client whose connection is cut at random', () => {
  test('has what the server has, by the WebSocket of Node.js', async () => {
    cutter = await Cutter.start(server as string);
    check('Node.js', await scenario(given()));
  });

  test('has what the server has, by ws', async () => {
    cutter = await Cutter.start(server as string);
    check('ws', await scenario({ ...given(), WebSocket: Ws as unknown as WebSocketConstructor }));
  });

  test.skipIf(browser === undefined)('has what the server has, in a browser', async () => {
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
      const run = (wanted: Given) =>
        (globalThis as unknown as { tested: { scenario: typeof scenario } }).tested.scenario(wanted);
      check(`Chromium ${started.version()}`, await page.evaluate(run, given()));
    } finally {
      await started.close();
    }
  });
});
