import { expect } from 'vitest';

export interface PrometheusSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/**
 * Reads Prometheus' text format strictly: every sample belongs to the family announced before it, no
 * series comes twice, and histograms have cumulative buckets that end in their count.
 */
export function parsePrometheusText(text: string): PrometheusSample[] {
  expect(text.endsWith('\n')).toBe(true);
  const samples: PrometheusSample[] = [];
  const types = new Map<string, string>();
  let family = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-zA-Z_:][\w:]*) \S.*$/.exec(line);
    const type = /^# TYPE ([a-zA-Z_:][\w:]*) (counter|gauge|histogram)$/.exec(line);
    if (help !== null) {
      family = help[1] ?? '';
      continue;
    }
    if (type !== null) {
      expect(type[1]).toBe(family);
      expect(types.has(family)).toBe(false);
      types.set(family, type[2] ?? '');
      continue;
    }
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (-?[\d.e+-]+)$/.exec(line);
    if (sample === null) throw new Error(`no sample: ${line}`);
    const [, name = '', inner = '', value = ''] = sample;
    const suffixes = types.get(family) === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    expect(suffixes.map((suffix) => family + suffix)).toContain(name);
    const labels: Record<string, string> = {};
    const rest = inner.replaceAll(
      /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"(?:,|$)/g,
      (_, label: string, quoted: string) => {
        expect(label in labels).toBe(false);
        labels[label] = quoted.replaceAll(/\\(.)/g, (_escape, escaped: string) =>
          unescape(escaped),
        );
        return '';
      },
    );
    expect(rest).toBe('');
    samples.push({ name, labels, value: Number(value) });
  }
  const series = samples.map(({ name, labels }) => seriesOf(name, labels));
  expect(new Set(series).size).toBe(series.length);
  for (const [name, type] of types) if (type === 'histogram') expectHistogram(samples, name);
  return samples;
}

function unescape(escaped: string): string {
  if (escaped === 'n') return '\n';
  if (escaped === '"' || escaped === '\\') return escaped;
  throw new Error(`no such escape: \\${escaped}`);
}

function seriesOf(name: string, labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([name, pairs]);
}

/** A histogram without labels of its own, which is all there are. */
function expectHistogram(samples: readonly PrometheusSample[], name: string): void {
  const valuesOf = (suffix: string): number[] =>
    samples.filter((sample) => sample.name === name + suffix).map(({ value }) => value);
  const bounds = samples
    .filter((sample) => sample.name === `${name}_bucket`)
    .map(({ labels }) => (labels['le'] === '+Inf' ? Infinity : Number(labels['le'])));
  const buckets = valuesOf('_bucket');
  expect(bounds).toEqual([...new Set(bounds)].toSorted((a, b) => a - b));
  expect(buckets).toEqual(buckets.toSorted((a, b) => a - b));
  expect(bounds.at(-1)).toBe(Infinity);
  expect(valuesOf('_count')).toEqual(buckets.slice(-1));
  expect(valuesOf('_sum')).toHaveLength(1);
}
