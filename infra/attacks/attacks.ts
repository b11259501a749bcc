import type { Attack } from './attack.ts';
import { BODY_ATTACKS } from './attacks-bodies.ts';
import { CONNECTION_ATTACKS } from './attacks-connections.ts';
import { PICTURE_ATTACKS } from './attacks-pictures.ts';
import { WORK_ATTACKS } from './attacks-work.ts';

/** All there are, in the order in which they run. */
export const ATTACKS: readonly Attack[] = [
  ...WORK_ATTACKS,
  ...PICTURE_ATTACKS,
  ...BODY_ATTACKS,
  ...CONNECTION_ATTACKS,
];
