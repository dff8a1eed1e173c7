import { defineConfig } from 'vitest/config';

// Node.js 20 has a global WebSocket behind a flag, later ones without.
const execArgv = Number(process.versions.node.split('.')[0]) < 22 ? ['--experimental-websocket'] : [];

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['tests/unit/**/*.test.ts'] } },
      {
        test: {
          name: 'integration',
          include: ['tests/integration/**/*.test.ts'],
          globalSetup: 'tests/integration/setup.ts',
          pool: 'forks',
          execArgv,
          // A claim about order and content; how long it takes is the machine's business.
          testTimeout: 0,
          hookTimeout: 0,
        },
      },
    ],
  },
});
