import { describe, expect, it } from 'vitest';
import {
  createCounter,
  createHistogram,
  createLabelledCounter,
  metricsText,
} from '../../src/metrics/registry.ts';
import { parsePrometheusText } from '../support/prometheus-text.ts';

describe('metrics text', () => {
  it('survives every character in labels and help', () => {
    const counter = createLabelledCounter('a_total', 'back\\slash\nand line');
    counter.add(2, { path: 'a"b\\c\nd' });
    counter.add(1, { path: 'a"b\\c\nd' });
    const text = metricsText([counter], { model_name: 'm' });
    expect(text.split('\n')[0]).toBe('# HELP a_total back\\\\slash\\nand line');
    expect(parsePrometheusText(text)).toEqual([
      { name: 'a_total', labels: { model_name: 'm', path: 'a"b\\c\nd' }, value: 3 },
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
    expect(metricsText([createLabelledCounter('a_total', 'never counted')], {})).toBe('\n');
  });

  it('starts counters at 0, with the labels known before', () => {
    const known = createLabelledCounter('b_total', 'known', [{ why: 'x' }]);
    const text = metricsText([createCounter('a_total', 'plain'), known], {});
    expect(parsePrometheusText(text)).toEqual([
      { name: 'a_total', labels: {}, value: 0 },
      { name: 'b_total', labels: { why: 'x' }, value: 0 },
    ]);
  });

  it('does not depend on the order in which labels came', () => {
    const texts = [
      ['a', 'b', 'c'],
      ['c', 'a', 'b'],
    ].map((order) => {
      const counter = createLabelledCounter('a_total', 'ordered');
      for (const why of order) counter.add(1, { why });
      return metricsText([counter], {});
    });
    expect(texts[0]).toBe(texts[1]);
  });
});
