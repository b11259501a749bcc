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

/** Answers 202 and lets the work go on as a job of the caller. */
export function acceptJob(c: Context<AppEnv>, parts: AppParts, run: JobWork['run']): Response {
  let report: ReturnType<RequestTrace['defer']> | null = null;
  const job = parts.jobs.start(tenantOf(c), { run, onEnd: (end) => report?.(end) });
  report = c.get('trace').defer('job');
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
    c.header('cache-control', 'no-store');
    return c.json(jobObject(job));
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

function jobObject({ id, createdSeconds, status, response }: Job): object {
  return {
    id,
    object: 'job',
    created_at: createdSeconds,
    status,
    ...(response === null
      ? {}
      : {
          response: { status_code: response.status, body: response.body },
          ...(status === 'failed' ? response.body : {}),
        }),
  };
}

function noSuchJob(): ServeError {
  return new ServeError(
    'not_found',
    'There is no such job of yours here; answers are kept for 15 minutes.',
  );
}
