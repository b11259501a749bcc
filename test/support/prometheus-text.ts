import { expect } from 'vitest';

export interface PrometheusSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Reads Prometheus' text format strictly: every sample belongs to the family announced before it. */
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
        labels[label] = quoted.replaceAll('\\"', '"').replaceAll('\\\\', '\\');
        return '';
      },
    );
    expect(rest).toBe('');
    samples.push({ name, labels, value: Number(value) });
  }
  return samples;
}
