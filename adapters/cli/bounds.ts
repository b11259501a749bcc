import { type Bound, type BoundName, BOUNDS } from '../../src/bounds.ts';
import type { OptionReader } from './read-options.ts';
import { UsageError } from './read-options.ts';

/** Bounds that were given; those of time in milliseconds. */
export type GivenBounds = Partial<Readonly<Record<BoundName, number>>>;

const NAMES = Object.keys(BOUNDS) as readonly BoundName[];

/** Options of everything that listens, one for each bound that has one. */
export const BOUND_FLAGS: readonly string[] = NAMES.flatMap((name) => BOUNDS[name].option ?? []);

/** @throws UsageError */
export function readBounds(options: OptionReader): GivenBounds {
  const given: Partial<Record<BoundName, number>> = {};
  for (const name of NAMES) {
    const value = readBound(BOUNDS[name], options);
    if (value !== null) given[name] = value;
  }
  return given;
}

function readBound({ option, unit, min, max }: Bound, options: OptionReader): number | null {
  if (option === null) return null;
  if (unit === 'seconds') return options.milliseconds(option, min);
  if (unit === 'count') return options.number(option, min, max) ?? null;
  const sizeBytes = options.bytes(option) ?? null;
  if (sizeBytes !== null && (sizeBytes < min || sizeBytes > max)) {
    throw new UsageError(`--${option} must be from ${sizeText(min)} to ${sizeText(max)}.`);
  }
  return sizeBytes;
}

/** What `gemlet bounds` prints. */
export function boundsText(): string {
  const rows = NAMES.map((name) => {
    const { option, unit, default: value, about } = BOUNDS[name];
    const most =
      unit === 'bytes' ? sizeText(value) : unit === 'seconds' ? `${value} s` : `${value}`;
    return `  ${(option === null ? name : `--${option}`).padEnd(22)}${most.padEnd(10)}${about}`;
  });
  return `What one caller may cost: options of gemlet serve and gemlet gateway, and
GEMLET_MAX_BODY and so on. Names without dashes are set by programs only.
gemlet_bounds_exceeded_total in /metrics counts what was refused.

${rows.join('\n')}`;
}

function sizeText(sizeBytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let power = 0;
  while (power < 4 && sizeBytes % 1024 ** (power + 1) === 0) power++;
  return `${sizeBytes / 1024 ** power}${units[power] ?? ''}`;
}
