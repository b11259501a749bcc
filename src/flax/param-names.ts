import { ServeError } from '../errors.ts';
import { damaged } from './byte-cursor.ts';
import type { OrbaxArray, OrbaxCheckpoint } from './orbax-array.ts';

/** What trainers put before the model's own names. */
const PREFIX = /^(?:params\.|rlx_networks\.policy_network\.)*(?:transformer\.)?/;
const VISION = /^(?:SigLiPFromPatches_0|vision_encoder)\.siglip_encoder\./;
/** In a checkpoint without pictures, and not used by Gemma 3 for them either. */
const DROPPED = /^embedder\.(?:mm_output_embedding|mm_input_embedding_extra)(?:\.|$)/;
/** What the names of Gemma 3's own arrays begin with. */
const PARAMETER = /^(?:layer_\d+|embedder|final_norm|vision|stacked_layers)\./;
/** Nested trees leave the last name of these out. */
const BARE = /^(layer_\d+\.mlp\.(?:gating_einsum|linear))$/;

/**
 * The one name of a parameter, whichever tree it comes from: flat ones have slashes in their keys
 * (`transformer/layer_0/attn/q_einsum.w`), nested ones dots only.
 * @returns such as `layer_0.attn.q_einsum.w` or `vision.pos_embedding`
 */
function parameterName(stored: string): string {
  return stored
    .replaceAll('/', '.')
    .replace(PREFIX, '')
    .replace(VISION, 'vision.')
    .replace(BARE, '$1.w');
}

/**
 * The checkpoint's arrays under their parameters' names, without those that are never used.
 * @throws ServeError invalid_checkpoint (a parameter is there twice), unsupported_model
 */
export function nameParameters(orbax: OrbaxCheckpoint): ReadonlyMap<string, OrbaxArray> {
  const named = new Map<string, OrbaxArray>();
  for (const [stored, array] of orbax.arrays) {
    const name = parameterName(stored);
    if (DROPPED.test(name)) continue;
    const other = named.get(name);
    if (other !== undefined) {
      throw damaged(orbax.name, `it holds ${name} twice, as ${other.name} and as ${stored}`);
    }
    named.set(name, array);
  }
  for (const [stored, error] of orbax.unreadable) {
    const name = parameterName(stored);
    if (DROPPED.test(name)) continue;
    throw PARAMETER.test(name) ? error : foreignArray(orbax.name, stored);
  }
  const stacked = [...named.keys()].find((name) => name.startsWith('stacked_layers.'));
  if (stacked === undefined) return named;
  throw new ServeError(
    'unsupported_model',
    `${orbax.name} holds its layers stacked (${stacked}); convert a checkpoint with one entry a layer, as Google publishes them`,
  );
}

/** The error for an array that a checkpoint of Gemma 3 does not have, such as a trainer's `step`. */
export function foreignArray(where: string, name: string): ServeError {
  return new ServeError(
    'unsupported_model',
    `${where}: ${name} is no part of Gemma 3; convert a checkpoint that holds its parameters and nothing else`,
  );
}
