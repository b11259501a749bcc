import { describe, expect, it } from 'vitest';
import { createApp } from '../../src/app.ts';
import { createAppHarness } from '../support/app-harness.ts';
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
    expect(find(samples, 'gemlet_http_requests_total', { path, status: '200' })).toBe(3);
    // Strangers cannot make labels.
    expect(find(samples, 'gemlet_http_requests_total', { path: 'other', status: '404' })).toBe(1);
    for (const { name, labels, value } of samples) {
      if (labels['le'] !== '+Inf') continue;
      expect(find(samples, name.replace(/_bucket$/, '_count'))).toBe(value);
    }
  });

  it('has cumulative buckets', async () => {
    const { send } = createAppHarness();
    await send('/v1/chat/completions', { messages });
    const samples = parsePrometheusText(await (await send('/metrics')).text());
    const buckets = samples.filter(({ name }) => name === 'vllm:request_prompt_tokens_bucket');
    // The stub's prompt has 9 tokens.
    expect(buckets.map(({ value }) => value).slice(0, 5)).toEqual([0, 0, 0, 1, 1]);
  });

  it('leaves the engine out where there is none, and asks for the key', async () => {
    const { send } = createAppHarness({ apiKeys: ['secret'] });
    expect((await send('/metrics')).status).toBe(401);
    const headers = { authorization: 'Bearer secret' };
    const text = await (await send('/metrics', undefined, { headers })).text();
    expect(text).not.toContain('num_requests_running');
    expect(text).toContain('gemlet_state{model_name=');
  });
});
