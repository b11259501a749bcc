/** Metrics in the text format of Prometheus, version 0.0.4. */

export type Labels = Readonly<Record<string, string>>;

/** One number of a family: its own labels, beside those that all have. */
export interface Sample {
  /** Behind the family's name: `_bucket`, `_sum`, `_count`; empty as a rule. */
  readonly suffix: string;
  readonly labels: Labels;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  samples(): readonly Sample[];
}

export interface Counter {
  add(value: number): void;
}

export interface LabelledCounter {
  /** @param labels the same names in the same order each time */
  add(value: number, labels: Labels): void;
}

export interface Histogram {
  observe(value: number): void;
}

export function createCounter(name: string, help: string): Counter & Family {
  let total = 0;
  return {
    name,
    help,
    type: 'counter',
    add(value) {
      total += value;
    },
    samples: () => [{ suffix: '', labels: {}, value: total }],
  };
}

/**
 * Counts by labels, in the order of their text. The caller bounds how many different labels there are.
 * @param known labels that are there before they are counted, so that the first one shows as a rise
 */
export function createLabelledCounter(
  name: string,
  help: string,
  known: readonly Labels[] = [],
): LabelledCounter & Family {
  const counts = new Map<string, { readonly labels: Labels; value: number }>();
  for (const labels of known) counts.set(JSON.stringify(labels), { labels, value: 0 });
  return {
    name,
    help,
    type: 'counter',
    add(value, labels) {
      const key = JSON.stringify(labels);
      const count = counts.get(key);
      if (count === undefined) counts.set(key, { labels, value });
      else count.value += value;
    },
    samples: () =>
      [...counts]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([, count]) => ({ suffix: '', ...count })),
  };
}

/** @param bounds upper bounds of the buckets, ascending; one without a bound is added */
export function createHistogram(
  name: string,
  help: string,
  bounds: readonly number[],
): Histogram & Family {
  const counts = new Float64Array(bounds.length + 1);
  let sum = 0;
  return {
    name,
    help,
    type: 'histogram',
    observe(value) {
      let bucket = 0;
      while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) bucket++;
      counts[bucket] = (counts[bucket] ?? 0) + 1;
      sum += value;
    },
    samples() {
      let total = 0;
      const buckets = Array.from(counts, (count, bucket) => {
        total += count;
        const bound = bounds[bucket];
        const le = bound === undefined ? '+Inf' : String(bound);
        return { suffix: '_bucket', labels: { le }, value: total };
      });
      return [
        ...buckets,
        { suffix: '_sum', labels: {}, value: sum },
        { suffix: '_count', labels: {}, value: total },
      ];
    },
  };
}

/** A family read when it is asked for; no samples when there is nothing to read. */
export function createReading(
  name: string,
  help: string,
  type: 'counter' | 'gauge',
  read: () => readonly { readonly labels?: Labels; readonly value: number }[],
): Family {
  return {
    name,
    help,
    type,
    samples: () => read().map(({ labels = {}, value }) => ({ suffix: '', labels, value })),
  };
}

/** @param common labels of every sample */
export function metricsText(families: readonly Family[], common: Labels): string {
  const lines: string[] = [];
  for (const family of families) {
    const samples = family.samples();
    if (samples.length === 0) continue;
    lines.push(`# HELP ${family.name} ${escape(family.help, false)}`);
    lines.push(`# TYPE ${family.name} ${family.type}`);
    for (const { suffix, labels, value } of samples) {
      const pairs = Object.entries({ ...common, ...labels }).map(
        ([label, text]) => `${label}="${escape(text, true)}"`,
      );
      const braces = pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
      lines.push(`${family.name}${suffix}${braces} ${value}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

function escape(text: string, isLabel: boolean): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return isLabel ? escaped.replaceAll('"', '\\"') : escaped;
}
