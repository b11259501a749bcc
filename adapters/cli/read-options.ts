import { parseArgs } from 'node:util';

/** What the person typed cannot be used; the message says what and why. */
export class UsageError extends Error {
  override readonly name: string = 'UsageError';
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads options by name. A flag goes before its environment variable; empty variables count as absent. */
export interface OptionReader {
  readonly positionals: readonly string[];
  text(flag: string, variable?: string): string | undefined;
  number(flag: string, min: number, max: number): number | undefined;
  /** Given in whole seconds. */
  milliseconds(flag: string, minSeconds: number): number | null;
  list(flag: string): string[];
  isOn(flag: string): boolean | undefined;
  choice<T extends string>(flag: string, allowed: readonly T[]): T | undefined;
  bytes(flag: string): number | undefined;
}

/** Timers hold no more than 24 days. */
const MAX_SECONDS = 24 * 86_400;

/**
 * @param lists flags that may be given several times, or as a comma-separated variable
 * @param switches flags without a value
 * @throws UsageError
 */
export function readOptions(
  args: readonly string[],
  environment: Environment,
  flags: {
    readonly texts: readonly string[];
    readonly lists?: readonly string[];
    readonly switches?: readonly string[];
    readonly short?: Readonly<Record<string, string>>;
  },
): OptionReader {
  const spec: Record<string, { type: 'string' | 'boolean'; multiple?: boolean; short?: string }> =
    {};
  const short = flags.short ?? {};
  for (const flag of flags.texts) {
    const letter = short[flag];
    spec[flag] = { type: 'string', ...(letter === undefined ? {} : { short: letter }) };
  }
  for (const flag of flags.lists ?? []) spec[flag] = { type: 'string', multiple: true };
  for (const flag of flags.switches ?? []) spec[flag] = { type: 'boolean' };
  const { values, positionals } = parse(args, spec);

  const text = (flag: string, variable = variableOf(flag)): string | undefined => {
    const given = values[flag];
    if (typeof given === 'string') return given;
    const fromEnvironment = environment[variable];
    return fromEnvironment === '' ? undefined : fromEnvironment;
  };
  const number = (flag: string, min: number, max: number): number | undefined =>
    wholeNumber(`--${flag}`, text(flag), min, max);
  return {
    positionals,
    text,
    number,
    milliseconds(flag, minSeconds) {
      const seconds = number(flag, minSeconds, MAX_SECONDS);
      return seconds === undefined ? null : seconds * 1000;
    },
    list(flag) {
      const given = values[flag];
      if (Array.isArray(given)) return given.map(String);
      const joined = text(flag);
      return joined === undefined ? [] : joined.split(',').map((item) => item.trim());
    },
    isOn: (flag) => (values[flag] === true ? true : yesOrNo(flag, text(flag))),
    choice: (flag, allowed) => choice(`--${flag}`, text(flag), allowed),
    bytes: (flag) => byteSize(`--${flag}`, text(flag)),
  };
}

type Values = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

function parse(
  args: readonly string[],
  options: NonNullable<Parameters<typeof parseArgs>[0]>['options'],
): { values: Values; positionals: readonly string[] } {
  try {
    return parseArgs({ args: [...args], options: options ?? {}, allowPositionals: true });
  } catch (cause) {
    throw new UsageError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** @throws UsageError */
export function wholeNumber(
  name: string,
  text: string | undefined,
  min: number,
  max: number,
): number | undefined {
  if (text === undefined || text === '') return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `${min} to ${max}`;
    throw new UsageError(`${name} must be a whole number, ${range}, not "${text}".`);
  }
  return value;
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

function byteSize(name: string, text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?) *([a-z]*)$/i.exec(text.trim()) ?? [];
  const factor = BYTE_UNITS[unit.toLowerCase()];
  if (amount === undefined || factor === undefined) {
    throw new UsageError(`${name} must be a size such as 512MB, 2GiB or 0, not "${text}".`);
  }
  return Math.floor(Number(amount) * factor);
}

function variableOf(flag: string): string {
  return `GEMLET_${flag.toUpperCase().replaceAll('-', '_')}`;
}

function yesOrNo(flag: string, text: string | undefined): boolean | undefined {
  const variable = variableOf(flag);
  const answer = choice(variable, text, ['1', '0', 'true', 'false']);
  return answer === undefined ? undefined : answer === '1' || answer === 'true';
}

function choice<T extends string>(
  name: string,
  text: string | undefined,
  allowed: readonly T[],
): T | undefined {
  if (text === undefined) return undefined;
  const found = allowed.find((item) => item === text);
  if (found === undefined) {
    throw new UsageError(`${name} must be ${allowed.join(', ')}, not "${text}".`);
  }
  return found;
}
