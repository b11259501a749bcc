import { createLambdaHandler, type LambdaHandler } from '../lambda/handler.ts';
import { openTarget } from './gateway.ts';
import { parseGatewayOptions } from './gateway-options.ts';
import { appOf, openLog } from './serve.ts';

// The entry of infra/aws: a gateway that is told all in the function's environment.
const settings = parseGatewayOptions([], process.env);
const log = openLog(settings);

export const handler: LambdaHandler = createLambdaHandler(
  appOf(await openTarget(settings, log), settings, log),
);
