import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Tests of attacks that lie beside what they attack. */
const AREAS: Readonly<Record<string, string>> = {
  'test/http/auth.test.ts': 'auth',
  'test/fuzz.test.ts': 'fuzz',
  'test/fuzz-files.test.ts': 'fuzz',
  'test/image/safe-url.test.ts': 'urls',
  'test/image/safe-fetch.test.ts': 'urls',
  'test/adapters/node-safe-fetch.test.ts': 'urls',
  'test/fleet/signing.test.ts': 'wire',
  'test/weights/safetensors.test.ts': 'files',
  'test/bundle/faulty-load.test.ts': 'files',
  'test/engine/kv/store/page-codec.test.ts': 'files',
  'test/flax/damaged-values.test.ts': 'files',
  'test/log/leaks.test.ts': 'secrets',
};
const ATTACK_FILE = /^test\/attacks\/(.*)\.test\.ts$/;

interface Row {
  tried: number;
  broken: number;
}

/** Prints what was attacked in a run, by area: tried, held, broken. Nothing where there was no attack. */
// oxlint-disable-next-line import/no-default-export -- vitest loads a reporter by it
export default class AttackTable implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const rows = new Map<string, Row>();
    for (const { relativeModuleId, children } of modules) {
      const area = ATTACK_FILE.exec(relativeModuleId)?.[1] ?? AREAS[relativeModuleId];
      if (area === undefined) continue;
      const row = rows.get(area) ?? { tried: 0, broken: 0 };
      for (const test of children.allTests()) add(row, test);
      rows.set(area, row);
    }
    if (!modules.some(({ relativeModuleId }) => ATTACK_FILE.test(relativeModuleId))) return;
    const lines = [...rows]
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([area, { tried, broken }]) => `| ${area} | ${tried} | ${tried - broken} | ${broken} |`);
    console.log(
      ['\n| attacks | tried | held | broken |', '|---|---|---|---|', ...lines].join('\n'),
    );
  }
}

function add(row: Row, test: TestCase): void {
  const { tried = 1, broken = 0 } = test.meta().tries ?? {};
  row.tried += tried;
  // A test that fails without a count, or for another reason, is one that did not hold.
  row.broken += test.result().state === 'failed' ? Math.max(1, broken) : 0;
}
