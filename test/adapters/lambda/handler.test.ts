import { afterEach, describe, expect, it } from 'vitest';
import type { LambdaEventV2 } from '../../../adapters/lambda/event.ts';
import { createLambdaHandler, type LambdaApp } from '../../../adapters/lambda/handler.ts';
import { type FakeLambda, startFakeLambda } from '../../support/fake-lambda.ts';

let lambda: FakeLambda | undefined;
afterEach(() => lambda?.close());

async function serve(fetch: LambdaApp['fetch']): Promise<FakeLambda> {
  lambda = await startFakeLambda(() => createLambdaHandler({ fetch }));
  return lambda;
}

/** Serves an app that tells what it was asked. */
function serveEcho(): Promise<FakeLambda> {
  return serve(async (request) =>
    Response.json({
      method: request.method,
      url: request.url,
      headers: Object.fromEntries(request.headers),
      body: Buffer.from(await request.arrayBuffer()).toString('hex'),
    }),
  );
}

const EVENT: LambdaEventV2 = {
  rawPath: '/v1/models',
  requestContext: { domainName: 'fn.example', http: { method: 'GET' } },
};

describe('createLambdaHandler', () => {
  it('reads what function URLs and HTTP APIs send', async () => {
    const { invoke } = await serveEcho();
    const response = await invoke({
      rawPath: '/prod/v1/a b?c#d',
      rawQueryString: 'x=1&x=%C3%BC',
      headers: { host: 'ignored.example', 'x-a': '1,2', 'x-snowman': '☃', 'x-none': undefined },
      cookies: ['a=1', 'b=2'],
      requestContext: { domainName: 'fn.example', stage: 'prod', http: { method: 'POST' } },
      body: Buffer.from([0, 255, 128]).toString('base64'),
      isBase64Encoded: true,
    });
    expect(await response.json()).toMatchObject({
      method: 'POST',
      url: 'https://fn.example/v1/a%20b%3Fc%23d?x=1&x=%C3%BC',
      headers: { 'x-a': '1,2', cookie: 'a=1; b=2', 'x-snowman': 'â\u0098\u0083' },
      body: '00ff80',
    });
  });

  it('reads what REST APIs send', async () => {
    const { invoke } = await serveEcho();
    const response = await invoke({
      httpMethod: 'PUT',
      path: '/v1/sessions/a',
      multiValueHeaders: { Host: ['api.example'], 'X-A': ['1', '2'] },
      multiValueQueryStringParameters: { x: ['1', 'ü&'], y: ['2'] },
      body: 'grüß',
    });
    expect(await response.json()).toMatchObject({
      method: 'PUT',
      url: 'https://api.example/v1/sessions/a?x=1&x=%C3%BC%26&y=2',
      headers: { 'x-a': '1, 2' },
      body: Buffer.from('grüß').toString('hex'),
    });
    const bare = await invoke({ httpMethod: 'GET', path: '/', multiValueHeaders: null, body: '' });
    expect(await bare.json()).toMatchObject({ url: 'https://localhost/', body: '' });
  });

  it('leaves out bodies where requests cannot have one', async () => {
    const { invoke } = await serveEcho();
    expect(await (await invoke({ ...EVENT, body: 'x' })).json()).toMatchObject({ body: '' });
  });

  it('fails on events that are no requests, and goes on', async () => {
    const { invoke } = await serveEcho();
    for (const event of [{}, { Records: [] }, { rawPath: '/' }]) {
      expect((await invoke(event as unknown as LambdaEventV2)).status).toBe(502);
    }
    expect((await invoke(EVENT)).status).toBe(200);
  });

  it('sends status, headers and cookies, without a body too', async () => {
    const headers = new Headers({ 'x-a': '1' });
    headers.append('set-cookie', 'a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT');
    headers.append('set-cookie', 'b=2');
    const { invoke } = await serve(() => new Response(null, { status: 204, headers }));
    const response = await invoke(EVENT);
    expect([response.status, response.headers.get('x-a')]).toEqual([204, '1']);
    expect(response.headers.getSetCookie()).toEqual(headers.getSetCookie());
  });

  it('sends bytes as they are', async () => {
    const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 31) & 0xff);
    const { invoke } = await serve(() => new Response(bytes));
    expect(new Uint8Array(await (await invoke(EVENT)).arrayBuffer())).toEqual(bytes);
  });

  it('tells Lambda of a body that fails, instead of ending it well', async () => {
    const { invoke } = await serve(() => new Response(failing()));
    const response = await invoke(EVENT);
    expect(response.status).toBe(200);
    await expect(response.text()).rejects.toThrow('the function failed');
  });

  it('tells Lambda of an app that throws', async () => {
    const { invoke } = await serve(() => Promise.reject(new Error('broken')));
    expect((await invoke(EVENT)).status).toBe(502);
  });

  it('aborts the request when the way to Lambda breaks, before the answer or while it streams', async () => {
    for (const answersFirst of [false, true]) {
      const seen = new EventTarget();
      const began = new Promise((resolve) => seen.addEventListener('began', resolve));
      const aborted = new Promise((resolve) => seen.addEventListener('aborted', resolve));
      const cancelled = new Promise((resolve) => seen.addEventListener('cancelled', resolve));
      const service = await serve(async ({ signal }) => {
        signal.addEventListener('abort', () => seen.dispatchEvent(new Event('aborted')));
        seen.dispatchEvent(new Event('began'));
        if (!answersFirst) await aborted;
        return new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(new Uint8Array(1)),
            cancel: () => void seen.dispatchEvent(new Event('cancelled')),
          }),
        );
      });
      const invoked = service.invoke(EVENT);
      const answer = invoked.then((response) => response.text());
      const failed = expect(answer).rejects.toThrow();
      await (answersFirst ? invoked : began);
      service.breakConnections();
      await Promise.all([aborted, cancelled, failed]);
      await service.close();
    }
  });
});

function failing(): ReadableStream<Uint8Array> {
  let reads = 0;
  return new ReadableStream({
    pull(controller) {
      if (++reads < 3) controller.enqueue(new Uint8Array(10));
      else controller.error(new Error('the disk is gone'));
    },
  });
}
