import type { Context, Handler } from 'hono';
import { ServeError } from '../errors.ts';
import type { Job, JobWork } from '../jobs.ts';
import { type AppEnv, type AppParts, tenantOf } from './app-env.ts';
import type { RequestTrace } from './request-events.ts';

const PREFERENCE = 'respond-async';

/** Whether the client asked for a job, by RFC 7240's `Prefer: respond-async`. */
export function prefersJob(request: Request): boolean {
  const preferences = (request.headers.get('prefer') ?? '').split(',');
  return preferences.some((item) => item.split(';', 1)[0]?.trim().toLowerCase() === PREFERENCE);
}

/** @throws ServeError invalid_request */
export function refuseStreamedJob(): never {
  throw new ServeError(
    'invalid_request',
    'An answer with Prefer: respond-async is fetched later and cannot be a stream; leave out one of the two.',
    { param: 'stream' },
  );
}

/**
 * Answers 202 and lets the work go on as a job of the caller.
 * @param places answers that it computes side by side
 */
export function acceptJob(
  c: Context<AppEnv>,
  parts: AppParts,
  run: JobWork['run'],
  places: number,
): Response {
  let report: ReturnType<RequestTrace['defer']> | null = null;
  const trace = c.get('trace');
  const body = c.get('body');
  const job = parts.jobs.start(tenantOf(c), {
    run(signal, onStart) {
      trace.restart();
      return run(signal, onStart);
    },
    sizeBytes: body.heldBytes,
    places,
    onEnd: (end) => report?.(end),
  });
  // From here on it counts among the jobs.
  body.release();
  report = trace.defer('job');
  return c.json(jobObject(job), 202, {
    location: `/v1/jobs/${job.id}`,
    'preference-applied': PREFERENCE,
  });
}

/** `GET /v1/jobs/:id`. */
export function jobRoute(parts: AppParts): Handler<AppEnv> {
  return function jobHandler(c) {
    const id = c.req.param('id') ?? '';
    const job = parts.jobs.find(tenantOf(c), id);
    if (job === null) throw noSuchJob();
    return c.body(jobBody(job).stream(), 200, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
    });
  };
}

/** `DELETE /v1/jobs/:id`: cancels what is not over, and forgets the job. */
export function deleteJobRoute(parts: AppParts): Handler<AppEnv> {
  return function deleteJobHandler(c) {
    const id = c.req.param('id') ?? '';
    if (!parts.jobs.remove(tenantOf(c), id)) throw noSuchJob();
    return c.json({ id, object: 'job', deleted: true });
  };
}

function jobObject({ id, createdSeconds, status }: Job): object {
  return { id, object: 'job', created_at: createdSeconds, status };
}

/** The job with its answer, whose bytes are taken as they are. */
function jobBody(job: Job): Blob {
  const { response } = job;
  const head = JSON.stringify(jobObject(job)).slice(0, -1);
  if (response === null) return new Blob([head, '}']);
  const parts: BlobPart[] = [head, `,"response":{"status_code":${response.status},"body":`];
  parts.push(response.body, '}');
  // An error stands beside it too, as in an answer that failed at once.
  if (job.status === 'failed') parts.push(',', response.body.subarray(1, -1));
  return new Blob([...parts, '}']);
}

function noSuchJob(): ServeError {
  return new ServeError(
    'not_found',
    'There is no such job of yours here; answers are kept for 15 minutes.',
  );
}
