import { ServeError } from '../../src/errors.ts';
import { boundsText } from './bounds.ts';
import { convert } from './convert.ts';
import { CONVERT_HELP } from './convert-help.ts';
import { gateway } from './gateway.ts';
import { GATEWAY_HELP } from './gateway-help.ts';
import { parseGatewayOptions } from './gateway-options.ts';
import { HELP, INSPECT_HELP, SERVE_HELP } from './help.ts';
import { PACK_HELP, VERIFY_HELP } from './pack-help.ts';
import { deploy } from './deploy/deploy.ts';
import { DEPLOY_HELP } from './deploy/help.ts';
import { inspect } from './inspect.ts';
import { parseInspectOptions, parseServeOptions } from './options.ts';
import { UsageError } from './read-options.ts';
import { pack, verify } from './pack.ts';
import { serve } from './serve.ts';
import { packageVersion } from './version.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** Runs one command line and resolves to the exit code. */
export async function run(args: readonly string[], environment: Environment): Promise<number> {
  const [command = 'help', ...rest] = args;
  const wantsHelp = rest.includes('--help') || rest.includes('-h');
  try {
    switch (command) {
      case 'serve':
        if (wantsHelp) return print(SERVE_HELP);
        await serve(parseServeOptions(rest, environment));
        return 0;
      case 'gateway':
        if (wantsHelp) return print(GATEWAY_HELP);
        await gateway(parseGatewayOptions(rest, environment));
        return 0;
      case 'inspect':
        if (wantsHelp) return print(INSPECT_HELP);
        return print(await inspect(parseInspectOptions(rest, environment)));
      case 'pack':
        if (wantsHelp) return print(PACK_HELP);
        return print(await pack(rest, environment));
      case 'verify':
        if (wantsHelp) return print(VERIFY_HELP);
        return print(await verify(rest, environment));
      case 'convert':
        if (wantsHelp) return print(CONVERT_HELP);
        return print(await convert(rest, environment));
      case 'deploy':
        if (wantsHelp) return print(DEPLOY_HELP);
        return print(await deploy(rest, environment));
      case 'bounds':
        return print(boundsText());
      case 'help':
      case '--help':
      case '-h':
        return print(HELP);
      case '--version':
      case '-v':
        return print(packageVersion());
      default:
        throw new UsageError(`There is no command "${command}".`);
    }
  } catch (error) {
    return fail(error);
  }
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

const USAGE_EXIT_CODE = 2;

/** Mistakes people make get one plain sentence; a stack is for defects only. */
function fail(error: unknown): number {
  if (error instanceof UsageError) {
    process.stderr.write(`gemlet: ${error.message}\nRun "gemlet --help" for what there is.\n`);
    return USAGE_EXIT_CODE;
  }
  const isExpected = ServeError.is(error) ? error.code !== 'internal' : error instanceof RangeError;
  const isPlain = isExpected || (error instanceof Error && 'code' in error);
  const text = error instanceof Error ? (isPlain ? error.message : error.stack) : String(error);
  process.stderr.write(`gemlet: ${text}\n`);
  return 1;
}
