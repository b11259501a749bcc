import { describe, expect, it } from 'vitest';
import { boundsText } from '../../../adapters/cli/bounds.ts';
import { parseServeOptions } from '../../../adapters/cli/options.ts';
import { BOUNDS } from '../../../src/bounds.ts';

describe('bounds', () => {
  it('come by options and variables, in the units of programs', () => {
    const { bounds } = parseServeOptions(['--max-body', '2MiB', '--body-timeout', '9'], {
      GEMLET_MAX_JOBS: '7',
    });
    expect(bounds).toEqual({ maxBodyBytes: 2 ** 21, bodyTimeoutMs: 9_000, maxJobs: 7 });
  });

  it.each([
    [['--max-body', '1'], '--max-body must be from 1KiB to 1GiB'],
    [['--max-jobs', '0'], '--max-jobs must be a whole number, 1 to 16777216'],
  ])('refuse %j', (args, message) => {
    expect(() => parseServeOptions(args, {})).toThrow(message);
  });

  it('are all listed, with defaults that they allow and options of their own', () => {
    const text = boundsText();
    const options = Object.values(BOUNDS).flatMap(({ option }) => option ?? []);
    expect(new Set(options).size).toBe(options.length);
    for (const [name, bound] of Object.entries(BOUNDS)) {
      expect(text).toContain(bound.option === null ? name : `--${bound.option} `);
      expect(bound.default).toBeGreaterThanOrEqual(bound.min);
      expect(bound.default).toBeLessThanOrEqual(bound.max);
    }
    expect(text).toMatch(/--max-body +32MiB +a request body/);
  });
});
