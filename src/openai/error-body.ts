import { ServeError } from '../errors.ts';

/** The error object of OpenAI's API, in bodies and in streams. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

export function errorBody(error: ServeError): ErrorBody {
  const { message, type, param, code } = error;
  return { error: { message, type, param, code } };
}

/** Wraps what is not ours: its text may hold prompts or paths, so it never reaches a client. */
export function toServeError(error: unknown): ServeError {
  if (ServeError.is(error)) return error;
  return new ServeError(
    'internal',
    'The server failed on this request; its log has the details under the request id.',
    { cause: error },
  );
}
