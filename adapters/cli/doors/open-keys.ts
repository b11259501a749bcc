import { type StatsListener, unwatchFile, watchFile } from 'node:fs';
import type { DoorOptions } from '../../../src/http/doors/doors.ts';
import type { KeyList } from '../../../src/http/doors/key-check.ts';
import type { RequestLog } from '../../../src/log/request-log.ts';
import type { DoorSettings, KeySource } from './door-options.ts';
import { checkKeyList, readKeyFile } from './key-file.ts';

export interface OpenKeys {
  /** What the app is told of who may come. */
  readonly doors: DoorOptions;
  /** Files are watched no longer. */
  close(): void;
}

/** How often files of keys are looked at; SIGHUP reads them at once. */
const WATCH_MS = 2_000;

interface Watched {
  readonly keys: KeyList;
  close(): void;
}

/**
 * The doors of an app by what was asked for on the command line. Files of keys are read again when they change
 * and on SIGHUP; one that cannot be used leaves the former keys in force, and says so in the log.
 */
export function openKeys(
  settings: DoorSettings,
  onEvent: RequestLog,
  watchMs: number = WATCH_MS,
): OpenKeys {
  const { apiKeys, metricsKeys, keySources, isOpen, isPublic, rates, proxies } = settings;
  const { allowedHosts, wrongKeysPerMinute } = settings;
  const api = watch(keySources.api, apiKeys);
  const metrics = watch(keySources.metrics, metricsKeys);
  return {
    doors: {
      ...(isOpen ? {} : { apiKeys: api.keys }),
      ...(metricsKeys.length === 0 ? {} : { metricsKeys: metrics.keys }),
      allowedHosts: allowedHosts.includes('*') ? '*' : allowedHosts,
      rates,
      proxies,
      ...(wrongKeysPerMinute === null ? {} : { wrongKeysPerMinute }),
    },
    close() {
      api.close();
      metrics.close();
    },
  };

  function watch({ given, file }: KeySource, first: readonly string[]): Watched {
    let keys = first;
    if (file === null) return { keys: () => keys, close: () => undefined };
    const read = (): void => {
      try {
        const found = readKeyFile(file);
        checkKeyList(found, file, isPublic);
        keys = [...given, ...found];
      } catch (error) {
        const what = `the keys of ${file} cannot be used, the former ones stay`;
        onEvent({ type: 'failure', what, error, level: 'error' });
      }
    };
    const onStat: StatsListener = (now, before) => {
      if (now.mtimeMs !== before.mtimeMs || now.ino !== before.ino) read();
    };
    watchFile(file, { persistent: false, interval: watchMs }, onStat);
    process.on('SIGHUP', read);
    return {
      keys: () => keys,
      close() {
        unwatchFile(file, onStat);
        process.off('SIGHUP', read);
      },
    };
  }
}
