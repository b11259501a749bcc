import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { WorkerEnv } from '../../../adapters/cloudflare/bindings.ts';
import { parseSettings } from '../../../adapters/cloudflare/settings.ts';
import { readWranglerFile } from '../../../infra/local-worker.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const file = readWranglerFile();

describe('wrangler.toml', () => {
  it('names what the build makes, and sends Cloudflare no statistics', () => {
    expect(existsSync(`${root}${file.main}`)).toBe(true);
    expect(file.no_bundle).toBe(true);
    expect(file.send_metrics).toBe(false);
    // The flags that the Worker relies on are on by this date.
    expect(file.compatibility_date >= '2026-02-24').toBe(true);
    expect(file.compatibility_flags).toContain('enable_request_signal');
    expect(file.compatibility_flags).toContain('global_fetch_strictly_public');
    expect(file.rules).toMatchObject([{ type: 'CompiledWasm', globs: ['*.wasm'] }]);
  });

  it('binds the class that the Worker exports, stored in SQLite from the first version', () => {
    const script = readFileSync(`${root}${file.main}`, 'utf8');
    const classes = file.durable_objects.bindings.map(({ class_name: name }) => name);
    expect(classes).toEqual(['SessionObject']);
    expect(/export\{[^}]*\bas SessionObject\b/.test(script)).toBe(true);
    expect(file.migrations.flatMap((step) => step.new_sqlite_classes)).toEqual(classes);
  });

  it('has variables that the Worker takes, and keeps secrets out', () => {
    const secrets = { FLEET_KEYS: 'a key that is long enough', API_KEYS: 'a key that is long' };
    const bindings = [
      ...file.r2_buckets.map(({ binding }) => binding),
      ...file.durable_objects.bindings.map(({ name }) => name),
    ];
    const bound = Object.fromEntries(bindings.map((name) => [name, {}]));
    const env = { ...bound, ...file.vars, ...secrets } as unknown as WorkerEnv;
    const settings = parseSettings(env);
    // Defaults are those of the code, so that leaving a line out changes nothing.
    const { MODEL_ID, CONTEXT_TOKENS, REPLICAS, BUNDLE } = file.vars;
    const least = { ...bound, ...secrets, MODEL_ID, CONTEXT_TOKENS, REPLICAS, BUNDLE };
    expect(parseSettings(least as unknown as WorkerEnv)).toEqual(settings);
    expect(() => parseSettings({ ...bound, ...file.vars } as unknown as WorkerEnv)).toThrow(
      'FLEET_KEYS is missing',
    );
  });

  it('consumes the queue it produces to, with a place for what fails', () => {
    const [consumer] = file.queues.consumers;
    expect(file.queues.producers.map(({ queue }) => queue)).toEqual([consumer?.queue]);
    expect(consumer?.dead_letter_queue).not.toBe(consumer?.queue);
    expect(consumer?.max_retries).toBeGreaterThan(0);
  });
});
