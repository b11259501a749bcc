import { SESSION_KEY } from '../sessions/session-key.ts';

type Json = Readonly<Record<string, unknown>>;

const ID: Json = { type: 'string', pattern: SESSION_KEY.source };
const COUNT: Json = { type: 'integer', minimum: 0 };
const SECONDS: Json = { type: 'integer', description: 'Seconds since 1970.' };

/** Headers that name the session of a completion. */
export const SESSION_HEADERS: readonly Json[] = [
  header('x-session-affinity', 'Names the session; wins over x-session-id.'),
  header('x-session-id', 'Names the session; wins over prompt_cache_key. Echoed.'),
];

export const SESSION_LIST_PARAMETERS: readonly Json[] = [
  {
    name: 'limit',
    in: 'query',
    schema: { type: 'integer', minimum: 1, maximum: 100, default: 20 },
  },
  {
    name: 'after',
    in: 'query',
    schema: ID,
    description: 'Id of the last session of the page before.',
  },
];

export const SESSION_SCHEMA: Json = objectOf({
  object: { const: 'session' },
  id: ID,
  created_at: SECONDS,
  last_used_at: SECONDS,
  expires_at: SECONDS,
  turns: COUNT,
  tokens: { ...COUNT, description: 'Of the latest turn: prompt and answer.' },
  images: COUNT,
  saved_tokens: { ...COUNT, description: 'Prompt tokens of all turns that were not computed.' },
  metadata: { type: 'object', additionalProperties: { type: 'string' } },
  parent: { type: ['string', 'null'], description: 'The session it was forked from.' },
  tiers: {
    ...objectOf({
      device: objectOf({ tokens: COUNT }),
      host: objectOf({ tokens: COUNT, bytes: COUNT }),
      store: objectOf({ tokens: COUNT, bytes: COUNT }),
    }),
    description: 'How much of it, from its start on, each tier holds.',
  },
});

export const SESSION_LIST_SCHEMA: Json = objectOf({
  object: { const: 'list' },
  data: { type: 'array', items: { $ref: '#/components/schemas/Session' } },
  first_id: { type: ['string', 'null'] },
  last_id: { type: ['string', 'null'] },
  has_more: { type: 'boolean' },
});

function header(name: string, description: string): Json {
  return { name, in: 'header', schema: ID, description };
}

/** An object with all of these. */
function objectOf(properties: Json): Json {
  return { type: 'object', properties, required: Object.keys(properties) };
}
