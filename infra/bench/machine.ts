import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  /** One-minute load when the bench began; a busy machine measures itself. */
  readonly load: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    system: `${process.platform} ${process.arch} ${release()}`,
    node: process.version,
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
  };
}

export interface ProcessMemory {
  readonly rssMiB: number;
  readonly peakMiB: number;
  /** Of the resident part: pages of mapped files, which the system may drop and read again. */
  readonly fileMiB: number;
}

/** From /proc on Linux; elsewhere only what Node.js knows. */
export function readProcessMemory(): ProcessMemory {
  if (process.platform !== 'linux') {
    const toMiB = 1 / 2 ** 20;
    return {
      rssMiB: Math.round(process.memoryUsage.rss() * toMiB),
      peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
      fileMiB: 0,
    };
  }
  const status = readFileSync('/proc/self/status', 'utf8');
  const field = (name: string): number =>
    Math.round(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0) / 1024);
  return { rssMiB: field('VmRSS'), peakMiB: field('VmHWM'), fileMiB: field('RssFile') };
}

/** Milliseconds of work all cores did since boot, user and system, whoever did it. */
export function busyMs(): number {
  return cpus().reduce(
    (sum, core) => sum + core.times.user + core.times.nice + core.times.sys + core.times.irq,
    0,
  );
}
