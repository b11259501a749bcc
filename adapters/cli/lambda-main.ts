import { createLambdaHandler, type LambdaHandler } from '../lambda/handler.ts';
import { createGateway } from '../node/create-gateway.ts';
import { parseGatewayOptions } from './gateway-options.ts';
import { appOf } from './serve.ts';

// The entry of infra/aws: a gateway that is told all in the function's environment.
const settings = parseGatewayOptions([], process.env);

export const handler: LambdaHandler = createLambdaHandler(
  appOf(createGateway(settings.gateway), settings),
);
