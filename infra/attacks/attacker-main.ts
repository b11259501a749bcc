import { ATTACKS } from './attacks.ts';
import { createAttacker } from './attacker.ts';
import { STARTED } from './run-attacker.ts';

// Attacks a server until it is told to stop, then says what became of its tries and ends: with the
// process go all its connections, however they were held open.

const [name, url, apiKey] = process.argv.slice(2);
const attack = ATTACKS.find((each) => each.name === name);
if (attack === undefined || url === undefined || apiKey === undefined) {
  throw new Error(`usage: attacker-main <attack> <url> <key>; there is no attack ${name}`);
}
const outcomes = new Map<string, number>();
const attacker = createAttacker(new URL(url), apiKey, {
  onStart: () => void process.send?.(STARTED),
  count: (outcome, by = 1) => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + by),
});
process.once('message', () => {
  process.send?.(Object.fromEntries([...outcomes].filter(([, count]) => count > 0)), () =>
    process.exit(),
  );
});
process.once('disconnect', () => process.exit());
await attack.run(attacker);
