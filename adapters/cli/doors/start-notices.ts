import type { DoorSettings } from './door-options.ts';
import { isShort, MIN_KEY_LENGTH } from './key-file.ts';

/** Since April 2026 nobody mends what is found in versions before this one. */
const OLDEST_SUPPORTED_NODE = 22;

/** What whoever starts a server should know of its doors, a line each. */
export function startNotices(settings: DoorSettings, nodeVersion: string): readonly string[] {
  const { apiKeys, metricsKeys, isPublic, isOpen } = settings;
  const lines: string[] = [];
  if (isPublic && isOpen) {
    lines.push('Anyone who reaches this machine may use the model. Set --api-key to change that.');
  } else if (isPublic && apiKeys.length === 0) {
    lines.push(
      'Only gateways with the fleet key are let in. Set --api-key, or say --allow-anyone, to let in clients.',
    );
  }
  if ([...apiKeys, ...metricsKeys].some(isShort)) {
    lines.push(`A key of fewer than ${MIN_KEY_LENGTH} characters can be guessed.`);
  }
  if (Number.parseInt(nodeVersion, 10) < OLDEST_SUPPORTED_NODE) {
    lines.push(`Node.js ${nodeVersion} gets no more security fixes: run gemlet on Node.js 24.`);
  }
  return lines;
}
