import { describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import { parseChatRequest } from '../../src/openai/chat-request.ts';
import { parseCompletionsRequest } from '../../src/openai/completions-request.ts';
import { KNOWN_FIELDS, verdictOn } from '../../src/openai/known-fields/known-fields.ts';
import type { FieldRoute } from '../../src/openai/known-fields/verdict.ts';
import { openApiDocument } from '../../src/openai/openapi.ts';
import { DEFAULT_LIMITS, type RequestContext } from '../../src/openai/request-context.ts';
import { STUB_CARD } from '../support/stub-completer.ts';

const context: RequestContext = {
  card: STUB_CARD,
  limits: DEFAULT_LIMITS,
  randomSeed: () => 77,
  tenant: '',
  sessionKey: null,
};
const BODIES: Readonly<Record<FieldRoute, object>> = {
  chat: { messages: [{ role: 'user', content: 'Hi' }] },
  completions: { prompt: 'Hi' },
};
const ROUTES: readonly FieldRoute[] = ['chat', 'completions'];
/** What no field takes for nothing. */
const ODD = { x: 1 };
/** Values that the fields with other names take, which are not their defaults. */
const SENT: Readonly<Record<string, unknown>> = {
  max_tokens: 3,
  repetition_penalty: 1.5,
  min_tokens: 2,
  include_stop_str_in_output: true,
  n: 2,
};

function parse(route: FieldRoute, fields: object): unknown {
  const body = { ...BODIES[route], ...fields };
  return route === 'chat'
    ? parseChatRequest(body, context)
    : parseCompletionsRequest(body, context);
}

function refusal(route: FieldRoute, fields: object): ServeError {
  try {
    parse(route, fields);
  } catch (error) {
    if (ServeError.is(error)) return error;
    throw error;
  }
  throw new Error(`accepted on ${route}: ${JSON.stringify(fields)}`);
}

const rows = KNOWN_FIELDS.flatMap(({ name, route, verdict }) =>
  ROUTES.filter((each) => route === 'both' || route === each).map(
    (each) => [name, each, verdict] as const,
  ),
);

describe('known fields', () => {
  it('have one verdict a route', () => {
    const keys = rows.map(([name, route]) => `${route} ${name}`);
    expect(keys.filter((key, at) => keys.indexOf(key) !== at)).toEqual([]);
    expect(new Set(KNOWN_FIELDS.map(({ name }) => name)).size).toBeGreaterThan(200);
  });

  it.each(rows)('do as they say: %s on %s', (name, route, verdict) => {
    const plain = parse(route, {});
    expect(parse(route, { [name]: null, ...BODIES[route] })).toEqual(plain);
    switch (verdict.type) {
      case 'refuse': {
        const error = refusal(route, { repetition_penalty: 1.5, [name]: ODD });
        expect(error).toMatchObject({ code: 'unsupported_parameter', status: 400, param: name });
        expect(error.message).toContain(verdict.hint);
        for (const value of verdict.passes) {
          expect(parse(route, { [name]: value })).toEqual(plain);
        }
        break;
      }
      case 'harmless':
        for (const value of [ODD, 7, 'x', true, [1]]) {
          expect(parse(route, { [name]: value })).toEqual(plain);
        }
        break;
      case 'alias': {
        const value = SENT[verdict.of];
        const asked = parse(route, { [verdict.of]: value });
        expect(parse(route, { [name]: value })).toEqual(asked);
        expect(asked).not.toEqual(plain);
        // The field itself wins, and bad values are named as they were sent.
        expect(parse(route, { [name]: ODD, [verdict.of]: value })).toEqual(asked);
        const error = refusal(route, { [name]: ODD });
        expect(error.param).toBe(name);
        expect(error.message.startsWith(name)).toBe(true);
        break;
      }
      case 'honour':
        expect(refusal(route, { [name]: name === 'stream_options' ? 7 : ODD }).param).toMatch(
          new RegExp(`^${name}\\b`),
        );
        break;
      default:
        verdict satisfies never;
    }
  });

  it.each([
    ['chat', 'ChatCompletionRequest'],
    ['completions', 'CompletionRequest'],
  ] as const)('that are honoured are those of the API description: %s', (route, schema) => {
    const { components } = openApiDocument(STUB_CARD) as {
      components: { schemas: Record<string, { properties: object }> };
    };
    const described = Object.keys(components.schemas[schema]?.properties ?? {});
    const honoured = KNOWN_FIELDS.filter(
      ({ name, verdict }) => verdict.type === 'honour' && verdictOn(name, route)?.type === 'honour',
    ).map(({ name }) => name);
    expect(honoured.toSorted()).toEqual(described.toSorted());
  });

  it.each([
    ['chat', 'ChatCompletionRequest'],
    ['completions', 'CompletionRequest'],
  ] as const)('that are not honoured are told in the API description: %s', (route, schema) => {
    const { components } = openApiDocument(STUB_CARD) as {
      components: { schemas: Record<string, { description: string }> };
    };
    const text = components.schemas[schema]?.description ?? '';
    for (const [name, each, verdict] of rows) {
      if (each !== route || verdict.type === 'honour') continue;
      const line = text.split('\n').find((candidate) => candidate.includes(`\`${name}\``)) ?? '';
      const said = { alias: 'the same as', harmless: '', refuse: '' }[verdict.type];
      expect(line).toContain(said);
      if (verdict.type === 'harmless') expect(line).toContain(verdict.why);
      if (verdict.type === 'refuse') expect(line).toContain(verdict.hint);
    }
  });

  it('that look back at fewer tokens pass where nothing looks back', () => {
    expect(parse('chat', { repeat_last_n: 64 })).toEqual(parse('chat', {}));
    expect(parse('chat', { repeat_last_n: 64, repeat_penalty: 1 })).toEqual(parse('chat', {}));
    const error = refusal('chat', { repeat_last_n: 64, repeat_penalty: 1.1 });
    expect(error.param).toBe('repeat_last_n');
  });

  it('and unknown ones of any name do no harm', () => {
    const body: unknown = JSON.parse(
      '{"prompt": "Hi", "frobnicate": 1, "__proto__": {"grammar": "x"}, "constructor": 7}',
    );
    expect(parseCompletionsRequest(body, context)).toEqual(parse('completions', {}));
  });

  it('refuse tools in the words that clients look for', () => {
    const { message } = refusal('chat', { tools: [{ type: 'function' }] });
    expect(message).toContain(`${STUB_CARD.id} does not support tools`);
  });
});
