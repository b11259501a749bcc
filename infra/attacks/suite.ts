import { parseArgs } from 'node:util';
import { whole } from '../bench/arguments.ts';
import { recordResults } from '../bench/results.ts';
import { ATTACKS } from './attacks.ts';
import { type AttackResult, runAttack } from './run-attack.ts';
import { type Bounds, broken, DEFAULT_BOUNDS, formatAttacks } from './verdict.ts';

export const ATTACK_USAGE = `Usage: npm run attacks -- [options]

Attacks servers of their own with the demo model, over loopback: gemlet serve, a replica, and a gateway
over two replicas, each with a heap of 512 MB. One user attacks in a loop; meanwhile another asks for two
tokens again and again, and /health/live is asked every 20 ms, from a third process. Prints a table, and
writes bench-results/attack-<time>.json. Fails when an attack broke a bound.

  --only PATTERN    attacks whose name or finding has it, such as picture or H4
  --on TARGETS      of serve, replica, store and gateway; default all
  --seconds N       how long each attacks; default 5
  --rss MB          the most memory of each process; default ${DEFAULT_BOUNDS.rssMb}
  --list            what there is
  --help
`;

export async function runAttacks(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: '' },
      on: { type: 'string', default: 'serve,replica,store,gateway' },
      seconds: { type: 'string', default: '5' },
      rss: { type: 'string', default: String(DEFAULT_BOUNDS.rssMb) },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(ATTACK_USAGE);
    return;
  }
  const seconds = whole('--seconds', values.seconds);
  const bounds: Bounds = { ...DEFAULT_BOUNDS, rssMb: whole('--rss', values.rss) };
  const pattern = new RegExp(values.only, 'i');
  const allowed = values.on.split(',');
  const plan = ATTACKS.flatMap((attack) =>
    pattern.test(attack.name) || pattern.test(attack.finding)
      ? attack.targets
          .filter((target) => allowed.includes(target))
          .map((target) => ({ attack, target }))
      : [],
  );
  if (plan.length === 0)
    throw new RangeError(`no attack fits --only ${values.only} --on ${values.on}`);
  if (values.list) {
    for (const { attack, target } of plan) {
      console.log(`${attack.name} on ${target} (${attack.finding}): ${attack.what}`);
    }
    return;
  }
  const format = (results: readonly AttackResult[]): string => formatAttacks(results, bounds);
  const results = await recordResults<readonly AttackResult[]>(
    { suite: 'attack', planned: plan.length, format },
    async (keep) => {
      const soFar: AttackResult[] = [];
      for (const { attack, target } of plan) {
        console.error(`${attack.name} on ${target}: ${attack.what}`);
        const result = await runAttack({ attack, target, seconds });
        console.error(`  ${broken(result, bounds).join('; ') || 'held'}`);
        soFar.push(result);
        keep([...soFar]);
      }
      return soFar;
    },
  );
  const count = results.filter((result) => broken(result, bounds).length > 0).length;
  if (count > 0) throw new Error(`${count} of ${results.length} attacks broke a bound`);
}
