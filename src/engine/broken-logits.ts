import { ServeError } from '../errors.ts';

/** What a broken forward pass looks like from here: better an error than nonsense text. */
export function brokenLogits(what: string): ServeError {
  return new ServeError(
    'internal',
    `The model computed no usable logits: ${what}. The weights or the device may be faulty.`,
  );
}

/** As `brokenLogits`, for a logit that is not a number. */
export function nanLogit(id: number): ServeError {
  return brokenLogits(`the logit of token ${id} is NaN`);
}

/** @throws ServeError internal when the largest logit is infinite: then none is allowed, or one is broken */
export function requireFinite(most: number): number {
  if (!Number.isFinite(most)) throw brokenLogits(`the largest allowed logit is ${most}`);
  return most;
}
