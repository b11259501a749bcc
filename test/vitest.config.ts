import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    // The table of attacks first: a run ends with the count of its tests.
    reporters: ['./test/support/attack-table.ts', 'default'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Native inference threads and test workers share two cores in CI.
    maxWorkers: 2,
    pool: 'forks',
  },
});
