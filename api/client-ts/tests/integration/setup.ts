// Says what can't be tested here, where nobody overlooks it.

import { existsSync } from 'node:fs';

/** Where browsers are, unless `WRIT_BROWSER` says so. */
const BROWSERS = ['chromium', 'chromium-headless-shell', 'google-chrome', 'chrome'].map((name) => `/usr/bin/${name}`);

export const server = process.env.WRIT_URL;
export const browser = process.env.WRIT_BROWSER ?? BROWSERS.find((path) => existsSync(path));

export default function setup(): void {
  const skipped: string[] = [];
  if (server === undefined) skipped.push('no server: set WRIT_URL and WRIT_TOKEN, see docs/client-ts.md');
  else if (browser === undefined) skipped.push('no browser: install Chromium, or name one in WRIT_BROWSER');
  for (const reason of skipped) process.stderr.write(`\n!!! INTEGRATION TESTS SKIPPED, ${reason}\n\n`);
  if (server !== undefined && browser === undefined && process.env.CI) throw new Error('CI tests in a browser.');
}
