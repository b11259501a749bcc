import type { Context, Handler } from 'hono';
import type { CompletionEvent } from '../completer.ts';
import {
  type CallImages,
  createReplicaImages,
  type ReplicaImages,
} from '../fleet/replica-images.ts';
import { LENGTH_BYTES, MAX_HEADER_BYTES, parseCall, type WireCall } from '../fleet/wire-call.ts';
import { encodeEvent, EVENTS_TYPE, type WireEvent } from '../fleet/wire-events.ts';
import { ServeError } from '../errors.ts';
import { createByteReader } from '../lib/byte-reader.ts';
import { openFrames } from '../lib/open-frames.ts';
import { toServeError } from '../openai/error-body.ts';
import { answerSignal } from './answer.ts';
import type { AppEnv, AppParts } from './app-env.ts';
import { cutOff, type ReplicaParts, requireSignature, signedJson } from './replica-parts.ts';
import type { RequestTrace } from './request-events.ts';

/** Of pictures that gateways sent; one of 896 pixels a side takes 2.4 MB. */
const IMAGE_CACHE_BYTES = 256 * 1024 * 1024;
/** More pictures than the longest context holds. */
const MAX_CALL_BYTES = 1_500_000_000;
/** A gateway takes a longer silence for a lost replica. */
const HEARTBEAT_MS = 5_000;

/** `POST /replica/v1/generate` and `POST /replica/v1/cancel`. */
export function replicaGenerateRoutes(
  parts: AppParts,
  replica: ReplicaParts,
): { readonly generate: Handler<AppEnv>; readonly cancel: Handler<AppEnv> } {
  const { completer, clock } = parts;
  const { access } = replica;
  const cache = createReplicaImages({
    maxBytes: IMAGE_CACHE_BYTES,
    loadImage: (file, panAndScan, signal) => access.loadImage(file, panAndScan, signal),
  });
  /** Running calls by id. */
  const running = new Map<string, AbortController>();

  async function* events(
    call: WireCall,
    images: CallImages,
    trace: RequestTrace,
    signal: AbortSignal,
  ): AsyncGenerator<WireEvent, void, undefined> {
    const { config, fingerprint } = await access.model(signal);
    if (call.fingerprint !== null && fingerprint !== null && fingerprint !== call.fingerprint) {
      throw new ServeError('upstream_unavailable', 'This replica serves another model.');
    }
    const filled = await images.fill(call.prompt.images, signal);
    const prompt = { ...call.prompt, images: filled };
    const imageTokens = filled.length * (config.vision?.tokensPerImage ?? 0);
    const meter = trace.meter({ choiceCount: 1, sampling: { ...call.params, stop: [] } });
    let isOver = false;
    try {
      for await (const event of access.generate(prompt, call.params, signal)) {
        const metered = toCompletionEvent(event, imageTokens);
        if (metered !== null) meter.add(metered, clock.now());
        yield event;
      }
      isOver = true;
    } finally {
      if (!isOver) meter.end(signal.aborted ? 'abort' : 'error');
    }
  }

  return {
    async generate(c) {
      const { call, images } = await readCall(c, replica, cache);
      const missing = images.missing(call.prompt.images);
      if (missing.length > 0) return c.json({ missing }, 409);
      const answer = answerSignal(c.req.raw);
      const { tokens } = call.prompt;
      const waiting = (): string =>
        encodeEvent(
          { type: 'wait', state: completer.state, progress: completer.progress?.() ?? null },
          tokens,
        );
      running.set(call.id, answer.abort);
      const trace = c.get('trace');
      let report: ReturnType<RequestTrace['defer']> | null = null;
      const body = await openFrames(
        events(call, images, trace, answer.signal),
        {
          frame: (event) => encodeEvent(event, tokens),
          heartbeat: waiting,
          failure: (error) => encodeEvent({ type: 'error', error: toServeError(error) }, tokens),
          end: '',
        },
        {
          clock,
          ...answer,
          graceMs: 0,
          heartbeatMs: HEARTBEAT_MS,
          onEnd(end) {
            running.delete(call.id);
            report?.(end);
          },
        },
      );
      report = trace.defer('stream');
      return c.body(body, 200, { 'content-type': EVENTS_TYPE, 'cache-control': 'no-store' });
    },
    async cancel(c) {
      const body = await signedJson(c, replica);
      const id = (body as { readonly id?: unknown } | null)?.id;
      const call = typeof id === 'string' ? running.get(id) : undefined;
      call?.abort(new DOMException('the gateway cancelled it', 'AbortError'));
      return c.json({ cancelled: call !== undefined });
    },
  };
}

/** Reads a call whose signature is right, and takes its pictures. */
async function readCall(
  c: Context<AppEnv>,
  replica: ReplicaParts,
  cache: ReplicaImages,
): Promise<{ readonly call: WireCall; readonly images: CallImages }> {
  const signed = await requireSignature(c, replica);
  if (signed.sizeBytes > MAX_HEADER_BYTES) {
    throw new ServeError('body_too_large', `A header may have ${MAX_HEADER_BYTES} bytes.`);
  }
  const stream = c.req.raw.body;
  if (stream === null) throw cutOff(null);
  const reader = createByteReader(stream);
  try {
    const length = new DataView((await reader.exactly(LENGTH_BYTES)).buffer).getUint32(0, true);
    if (length !== signed.sizeBytes) {
      throw new ServeError('invalid_request', 'The header has another length than was signed.');
    }
    const header = await reader.exactly(length);
    await signed.check(header);
    const call = parseCall(header);
    const images = cache.begin(call.prompt.scope);
    const sizeBytes = call.blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0);
    if (sizeBytes > MAX_CALL_BYTES) {
      throw new ServeError('body_too_large', `Pictures may have ${MAX_CALL_BYTES} bytes in all.`);
    }
    for (const blob of call.blobs) {
      await images.add(blob.sha256, await reader.exactly(blob.sizeBytes));
    }
    if (!(await reader.isAtEnd())) {
      throw new ServeError('invalid_request', 'More bytes follow than the header tells of.');
    }
    return { call, images };
  } catch (error) {
    await reader.cancel(error).catch(() => undefined);
    throw error instanceof RangeError ? cutOff(error) : error;
  }
}

/** What the metrics need of an event. */
function toCompletionEvent(event: WireEvent, imageTokens: number): CompletionEvent | null {
  switch (event.type) {
    case 'prefill-end':
      return { ...event, type: 'start', imageTokens, prompt: null };
    case 'token': {
      const token = { id: event.id, text: '', bytes: [], logprob: null, top: [] };
      return { type: 'delta', index: 0, text: '', tokens: [token] };
    }
    case 'finish':
      return { ...event, index: 0, stopReason: null };
    default:
      return null;
  }
}
