import { createLambdaHandler } from '../../../adapters/lambda/handler.ts';
import { describeHttp } from '../../contracts/http.ts';
import { loadFromMetrics } from '../../contracts/http-target.ts';
import { createContractApp } from '../../support/contract-app.ts';
import { startFakeLambda } from '../../support/fake-lambda.ts';

describeHttp('a Lambda function', async () => {
  const lambda = await startFakeLambda(() => createLambdaHandler(createContractApp()));
  return {
    send: lambda.send,
    load: () => loadFromMetrics(lambda.send),
    tellsGoneClients: false,
    holdsBack: true,
    keepsJobs: false,
    close: lambda.close,
  };
});
