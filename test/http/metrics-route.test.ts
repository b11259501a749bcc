import { describe, expect, it } from 'vitest';
import { createApp } from '../../src/app.ts';
import { ServeError } from '../../src/errors.ts';
import { createAppHarness, type AppHarness } from '../support/app-harness.ts';
import { createFakeClock } from '../support/fake-clock.ts';
import { createFakeEngineCompleter } from '../support/fake-engine-completer.ts';
import { parsePrometheusText, type PrometheusSample } from '../support/prometheus-text.ts';

const messages = [{ role: 'user', content: 'Hi' }];

function find(
  samples: readonly PrometheusSample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  return samples.find(
    (sample) =>
      sample.name === name &&
      Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
  )?.value;
}

async function scrape(send: AppHarness['send']): Promise<PrometheusSample[]> {
  return parsePrometheusText(await (await send('/metrics')).text());
}

/** Types as vLLM has them, of the families that are there without an engine. */
const FAMILIES: Readonly<Record<string, string>> = {
  'vllm:time_to_first_token_seconds': 'histogram',
  'vllm:inter_token_latency_seconds': 'histogram',
  'vllm:request_time_per_output_token_seconds': 'histogram',
  'vllm:e2e_request_latency_seconds': 'histogram',
  'vllm:request_queue_time_seconds': 'histogram',
  'vllm:request_prefill_time_seconds': 'histogram',
  'vllm:request_decode_time_seconds': 'histogram',
  'vllm:request_inference_time_seconds': 'histogram',
  'vllm:request_prompt_tokens': 'histogram',
  'vllm:request_generation_tokens': 'histogram',
  'vllm:prompt_tokens_total': 'counter',
  'vllm:generation_tokens_total': 'counter',
  'vllm:request_success_total': 'counter',
  gemlet_refused_requests_total: 'counter',
  gemlet_body_bytes: 'gauge',
  gemlet_bounds_exceeded_total: 'counter',
  gemlet_state: 'gauge',
};

const ENGINE_FAMILIES: Readonly<Record<string, string>> = {
  'vllm:num_requests_running': 'gauge',
  'vllm:num_requests_waiting': 'gauge',
  'vllm:kv_cache_usage_perc': 'gauge',
  'vllm:prefix_cache_queries_total': 'counter',
  'vllm:prefix_cache_hits_total': 'counter',
  'vllm:num_preemptions_total': 'counter',
  'vllm:spec_decode_num_drafts_total': 'counter',
  'vllm:spec_decode_num_draft_tokens_total': 'counter',
  'vllm:spec_decode_num_accepted_tokens_total': 'counter',
  gemlet_rows: 'gauge',
  gemlet_kv_pages: 'gauge',
  gemlet_kv_page_bytes: 'gauge',
  gemlet_kv_page_budget_bytes: 'gauge',
  gemlet_prefix_hit_tokens_total: 'counter',
  gemlet_pages_total: 'counter',
  gemlet_recomputed_tokens_total: 'counter',
  gemlet_displaced_requests_total: 'counter',
  gemlet_fair_preemptions_total: 'counter',
  gemlet_stalled_readers_total: 'counter',
  gemlet_distrusted_reuse_total: 'counter',
  gemlet_images_total: 'counter',
  gemlet_steps_total: 'counter',
  gemlet_phase_seconds_total: 'counter',
};

function typesOf(text: string): Record<string, string> {
  const types = text.matchAll(/^# TYPE (\S+) (\S+)$/gm);
  return Object.fromEntries(Array.from(types, ([, name = '', type = '']) => [name, type]));
}

describe('GET /metrics', () => {
  it('counts what passed under the names that vLLM has', async () => {
    const { completer } = createFakeEngineCompleter({ kvBudgetBytes: 1e6, pageTokens: 8 });
    const app = createApp({ completer });
    const ask = async (body: object): Promise<void> => {
      const response = await app.request('/v1/chat/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ messages, max_tokens: 5, ignore_eos: true, seed: 1, ...body }),
      });
      expect(response.status).toBe(200);
      await response.text();
    };
    await ask({});
    await ask({ stream: true });
    await ask({ n: 2 });
    await app.request('/no/such/path');
    await app.request('/v1/chat/completions', { method: 'POST', body: '{' });
    const response = await app.request('/metrics');
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const samples = parsePrometheusText(await response.text());
    expect(samples.every(({ labels }) => labels['model_name'] === completer.model.id)).toBe(true);
    const stats = completer.stats?.();
    expect(find(samples, 'vllm:generation_tokens_total')).toBe(20);
    expect(find(samples, 'vllm:request_success_total', { finished_reason: 'length' })).toBe(4);
    expect(find(samples, 'vllm:time_to_first_token_seconds_count')).toBe(4);
    expect(find(samples, 'vllm:inter_token_latency_seconds_count')).toBe(16);
    expect(find(samples, 'vllm:request_prompt_tokens_count')).toBe(3);
    expect(find(samples, 'vllm:e2e_request_latency_seconds_count')).toBe(3);
    expect(find(samples, 'vllm:prefix_cache_queries_total')).toBe(stats?.totals.prefixQueryTokens);
    expect(find(samples, 'vllm:prefix_cache_hits_total')).toBeGreaterThan(0);
    expect(find(samples, 'gemlet_rows', { state: 'warm' })).toBe(stats?.warmRows);
    expect(find(samples, 'gemlet_state', { state: 'ready' })).toBe(1);
    const path = '/v1/chat/completions';
    const wanted = { method: 'POST', path, status: '200', outcome: 'ok' };
    expect(find(samples, 'gemlet_http_requests_total', wanted)).toBe(3);
    // Strangers cannot make labels.
    expect(find(samples, 'gemlet_http_requests_total', { path: 'other', status: '404' })).toBe(1);
  });

  it('has cumulative buckets', async () => {
    const { send } = createAppHarness();
    await send('/v1/chat/completions', { messages });
    const samples = parsePrometheusText(await (await send('/metrics')).text());
    const buckets = samples.filter(({ name }) => name === 'vllm:request_prompt_tokens_bucket');
    // The stub's prompt has 9 tokens.
    expect(buckets.map(({ value }) => value).slice(0, 5)).toEqual([0, 0, 0, 1, 1]);
  });

  it('leaves the engine out where there is none, and asks for a key of its own', async () => {
    const { send } = createAppHarness({ apiKeys: ['secret'], metricsKeys: ['for-counts'] });
    expect((await send('/metrics')).status).toBe(401);
    const headers = { authorization: 'Bearer for-counts' };
    const text = await (await send('/metrics', undefined, { headers })).text();
    expect(text).not.toContain('num_requests_running');
    expect(text).toContain('gemlet_state{model_name=');
  });

  it('has every family from the first scrape on, at 0', async () => {
    const { send } = createAppHarness();
    const text = await (await send('/metrics')).text();
    expect(typesOf(text)).toEqual(FAMILIES);
    const samples = parsePrometheusText(text);
    const counted = samples.filter(({ name, value }) => name !== 'gemlet_state' && value !== 0);
    expect(counted).toEqual([]);
    const reasons = samples.filter(({ name }) => name === 'vllm:request_success_total');
    expect(reasons.map(({ labels }) => labels['finished_reason'])).toEqual([
      'abort',
      'error',
      'length',
      'stop',
    ]);
    const withEngine = createApp({ completer: createFakeEngineCompleter().completer });
    const engineText = await (await withEngine.request('/metrics')).text();
    expect(typesOf(engineText)).toEqual({ ...FAMILIES, ...ENGINE_FAMILIES });
  });

  it('has the buckets of vLLM', async () => {
    const samples = await scrape(createAppHarness().send);
    const boundsOf = (name: string): string =>
      samples
        .filter((sample) => sample.name === `vllm:${name}_bucket`)
        .map(({ labels }) => labels['le'])
        .join(' ');
    const perToken =
      '0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80 +Inf';
    const perRequest =
      '0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680 +Inf';
    expect(boundsOf('time_to_first_token_seconds')).toBe(
      '0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 640 2560 +Inf',
    );
    expect(boundsOf('inter_token_latency_seconds')).toBe(perToken);
    expect(boundsOf('request_time_per_output_token_seconds')).toBe(perToken);
    for (const name of ['e2e_request_latency', 'request_queue_time', 'request_decode_time']) {
      expect(boundsOf(`${name}_seconds`)).toBe(perRequest);
    }
    expect(boundsOf('request_prompt_tokens')).toMatch(
      /^1 2 5 10 20 50 100 .* 200000 500000 \+Inf$/,
    );
  });

  it.each([false, true])('times tokens as they pass, streamed: %s', async (stream) => {
    const clock = createFakeClock();
    // 30 ms until the completion starts, then four tokens of 20 ms each.
    const gate = async (at: number): Promise<void> => clock.advance(at < 0 ? 30 : 20);
    const { send } = createAppHarness({ clock }, { gate });
    await (await send('/v1/chat/completions', { messages, stream })).text();
    const samples = await scrape(send);
    const value = (name: string, le?: string): number | undefined =>
      find(samples, `vllm:${name}`, le === undefined ? {} : { le });
    expect(value('time_to_first_token_seconds_sum')).toBeCloseTo(0.05, 9);
    expect(value('time_to_first_token_seconds_bucket', '0.04')).toBe(0);
    expect(value('time_to_first_token_seconds_bucket', '0.06')).toBe(1);
    expect(value('inter_token_latency_seconds_sum')).toBeCloseTo(0.06, 9);
    expect(value('inter_token_latency_seconds_bucket', '0.025')).toBe(3);
    expect(value('e2e_request_latency_seconds_sum')).toBeCloseTo(0.11, 9);
    // What the stub says of itself: 1 ms queue, 2 ms prefill, 3 ms decode, four tokens.
    expect(value('request_queue_time_seconds_sum')).toBeCloseTo(0.001, 9);
    expect(value('request_prefill_time_seconds_sum')).toBeCloseTo(0.002, 9);
    expect(value('request_decode_time_seconds_sum')).toBeCloseTo(0.003, 9);
    expect(value('request_inference_time_seconds_sum')).toBeCloseTo(0.005, 9);
    expect(value('request_time_per_output_token_seconds_sum')).toBeCloseTo(0.001, 9);
    expect(value('generation_tokens_total')).toBe(4);
    expect(value('request_generation_tokens_sum')).toBe(4);
  });

  it('keeps the prompts of one request apart', async () => {
    const { send } = createAppHarness();
    await (await send('/v1/completions', { prompt: ['a', 'bc', 'def'], n: 2 })).text();
    const samples = await scrape(send);
    const generated = find(samples, 'vllm:generation_tokens_total') ?? 0;
    expect(find(samples, 'vllm:time_to_first_token_seconds_count')).toBe(6);
    expect(find(samples, 'vllm:inter_token_latency_seconds_count')).toBe(generated - 6);
    expect(find(samples, 'vllm:request_prompt_tokens_count')).toBe(3);
    expect(find(samples, 'vllm:request_success_total', { finished_reason: 'stop' })).toBe(6);
    expect(find(samples, 'vllm:e2e_request_latency_seconds_count')).toBe(1);
  });

  it('tells answers that were left or failed from whole ones, and from refusals', async () => {
    const error = new ServeError('internal', 'broken');
    const left = createAppHarness();
    const response = await left.send('/v1/chat/completions', { messages, n: 2, stream: true });
    await response.body?.cancel();
    const failed = createAppHarness({}, { failAfter: { tokens: 2, error } });
    expect((await failed.send('/v1/chat/completions', { messages })).status).toBe(500);
    const refused = createAppHarness({}, { failure: () => new ServeError('queue_full', 'full') });
    expect((await refused.send('/v1/chat/completions', { messages })).status).toBe(429);
    const counts = await Promise.all(
      [left, failed, refused].map(async ({ send }) => {
        const samples = await scrape(send);
        return ['stop', 'length', 'abort', 'error', 'e2e'].map((reason) =>
          reason === 'e2e'
            ? find(samples, 'vllm:e2e_request_latency_seconds_count')
            : find(samples, 'vllm:request_success_total', { finished_reason: reason }),
        );
      }),
    );
    expect(counts).toEqual([
      [0, 0, 2, 0, 0],
      [0, 0, 0, 1, 0],
      [0, 0, 0, 0, 0],
    ]);
  });

  it('makes no label out of what strangers send', async () => {
    const { send } = createAppHarness({ cors: { origins: '*' } });
    for (let index = 0; index < 20; index++) {
      await send(`/v1/models/model-${index}`);
      await send(`/nothing/${index}`);
      await send('/v1/models', undefined, { method: `BREW${index}` });
    }
    const preflight = { origin: 'https://a.example', 'access-control-request-method': 'POST' };
    await send('/v1/completions', undefined, { method: 'OPTIONS', headers: preflight });
    const samples = await scrape(send);
    const requests = samples
      .filter(({ name }) => name === 'gemlet_http_requests_total')
      .map(({ labels, value }) => [labels['method'], labels['path'], labels['status'], value]);
    expect(requests).toEqual([
      ['GET', '/v1/models/:id', '404', 20],
      ['GET', 'other', '404', 20],
      ['OPTIONS', '/v1/completions', '204', 1],
      ['other', '/v1/models', '405', 20],
    ]);
  });

  it('is not there when it is switched off', async () => {
    const { send } = createAppHarness({ metrics: false });
    expect((await send('/v1/chat/completions', { messages })).status).toBe(200);
    expect((await send('/metrics')).status).toBe(404);
  });

  it('answers HEAD, and nothing that asks for changes', async () => {
    const { send } = createAppHarness();
    expect((await send('/metrics', undefined, { method: 'HEAD' })).status).toBe(200);
    expect((await send('/metrics', {})).status).toBe(405);
  });
});
