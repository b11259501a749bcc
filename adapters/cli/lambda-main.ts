import { createLambdaHandler, type LambdaHandler } from '../lambda/handler.ts';
import { openKeys } from './doors/open-keys.ts';
import { openTarget } from './gateway.ts';
import { parseGatewayOptions } from './gateway-options.ts';
import { appOf, openLog } from './serve.ts';

// The entry of infra/aws: a gateway that is told all in the function's environment.
// A function's URL is public, so it asks for keys unless it is told to let anyone in.
const settings = parseGatewayOptions(['--host', '0.0.0.0'], process.env);
const log = openLog(settings);

export const handler: LambdaHandler = createLambdaHandler(
  appOf(await openTarget(settings, log), settings, log, openKeys(settings, log).doors),
);
