import { createLambdaHandler, type LambdaHandler } from '../lambda/handler.ts';
import { openTarget } from './gateway.ts';
import { parseGatewayOptions } from './gateway-options.ts';
import { appOf } from './serve.ts';

// The entry of infra/aws: a gateway that is told all in the function's environment.
const settings = parseGatewayOptions([], process.env);

export const handler: LambdaHandler = createLambdaHandler(
  appOf(await openTarget(settings), settings),
);
