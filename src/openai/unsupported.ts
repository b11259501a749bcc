import { ServeError } from '../errors.ts';

/** The refusal of one known but unsupported field or value. */
export function unsupported(param: string, hint: string): ServeError {
  return new ServeError('unsupported_parameter', `${param} is not supported here: ${hint}.`, {
    param,
  });
}
