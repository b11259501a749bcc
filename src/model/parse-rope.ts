import type { LayerType, RopeConfig, TextConfig } from './config.ts';
import type { JsonFields } from './json-fields.ts';

const GLOBAL_THETA = 1e6;
const LOCAL_THETA = 1e4;
const THETA = { min: 1, max: 1e12 } as const;
const FACTOR = { min: 1, max: 1e6 } as const;

/**
 * Rotary settings of both layer types, from `rope_parameters` (transformers 5) or from
 * `rope_theta`, `rope_scaling` and `rope_local_base_freq` (before).
 * @param text the text model's fields
 * @throws ServeError unsupported_model for scalings other than linear
 */
export function parseRope(text: JsonFields): TextConfig['rope'] {
  const globalTheta = text.number('rope_theta', THETA, GLOBAL_THETA);
  const localTheta = text.number('rope_local_base_freq', THETA, LOCAL_THETA);
  const parameters = text.object('rope_parameters');
  if (parameters === null) {
    const scaling = text.object('rope_scaling');
    return {
      global: { theta: globalTheta, factor: scaling === null ? 1 : parseFactor(scaling) },
      local: { theta: localTheta, factor: 1 },
    };
  }
  const full = parameters.object('full_attention');
  const sliding = parameters.object('sliding_attention');
  const isPerLayerType = full !== null || sliding !== null;
  const rope = (fields: JsonFields | null, theta: number): RopeConfig =>
    fields === null
      ? { theta, factor: 1 }
      : { theta: fields.number('rope_theta', THETA, theta), factor: parseFactor(fields) };
  return {
    global: rope(isPerLayerType ? full : parameters, globalTheta),
    local: rope(sliding, localTheta),
  };
}

function parseFactor(fields: JsonFields): number {
  const type = fields.text(['rope_type', 'type']) ?? 'default';
  if (type === 'default') return 1;
  if (type === 'linear') return fields.number('factor', FACTOR);
  throw fields.error(
    ['rope_type', 'type'],
    'is a position scaling that Gemma 3 does not use: it must be "linear" or "default"; take a checkpoint without it',
    'unsupported_model',
  );
}

const STORED_LAYER_TYPES: Readonly<Record<string, LayerType>> = {
  sliding_attention: 'local',
  full_attention: 'global',
};

/** `layer_types` where present, else every `sliding_window_pattern`-th layer is global. */
export function parseLayerTypes(text: JsonFields, layerCount: number): readonly LayerType[] {
  const stored = text.value('layer_types');
  if (stored === undefined) {
    const key = ['sliding_window_pattern', '_sliding_window_pattern'];
    const pattern = text.integer(key, { min: 1, max: 2 ** 20 }, 6);
    return Array.from({ length: layerCount }, (_, i) =>
      (i + 1) % pattern === 0 ? 'global' : 'local',
    );
  }
  if (!Array.isArray(stored) || stored.length !== layerCount) {
    throw text.error('layer_types', `must list ${layerCount} layers (num_hidden_layers)`);
  }
  return stored.map((name: unknown) => {
    const type = typeof name === 'string' ? STORED_LAYER_TYPES[name] : undefined;
    if (type === undefined) {
      throw text.error('layer_types', 'must hold only "sliding_attention" and "full_attention"');
    }
    return type;
  });
}
