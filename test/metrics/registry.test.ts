import { describe, expect, it } from 'vitest';
import { createCounter, createHistogram, metricsText } from '../../src/metrics/registry.ts';
import { parsePrometheusText } from '../support/prometheus-text.ts';

describe('metrics text', () => {
  it('survives every character in labels and help', () => {
    const counter = createCounter('a_total', 'back\\slash\nand line');
    counter.add(2, { path: 'a"b\\c' });
    counter.add(1, { path: 'a"b\\c' });
    const text = metricsText([counter], { model_name: 'm' });
    expect(text.split('\n')[0]).toBe('# HELP a_total back\\\\slash\\nand line');
    expect(parsePrometheusText(text)).toEqual([
      { name: 'a_total', labels: { model_name: 'm', path: 'a"b\\c' }, value: 3 },
    ]);
  });

  it('puts values on a bound into its bucket', () => {
    const histogram = createHistogram('h', 'sizes', [1, 5]);
    for (const value of [0, 1, 1.5, 5, 6]) histogram.observe(value);
    expect(histogram.samples()).toEqual([
      { suffix: '_bucket', labels: { le: '1' }, value: 2 },
      { suffix: '_bucket', labels: { le: '5' }, value: 4 },
      { suffix: '_bucket', labels: { le: '+Inf' }, value: 5 },
      { suffix: '_sum', labels: {}, value: 13.5 },
      { suffix: '_count', labels: {}, value: 5 },
    ]);
  });

  it('leaves out families without samples', () => {
    expect(metricsText([createCounter('a_total', 'never counted')], {})).toBe('\n');
  });
});
