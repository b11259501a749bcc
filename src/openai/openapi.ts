import * as z from 'zod/mini';
import type { ModelCard } from '../completer.ts';
import { chatSchema, templateSchema } from './chat-request.ts';
import { completionsSchema, promptSchema } from './completions-request.ts';
import { messageSchema } from './messages.ts';
import { modelSchema } from './model-field.ts';
import { samplingSchema } from './sampling-fields.ts';
import { detokenizeSchema, tokenizeSchema } from './tokenize-request.ts';

type Json = Readonly<Record<string, unknown>>;

/** The OpenAPI 3.1 document of the API, made from the schemas that validate requests. */
export function openApiDocument(card: ModelCard): Json {
  const chat = objectOf([modelSchema, chatSchema, samplingSchema, templateSchema], {
    messages: { type: 'array', minItems: 1, items: jsonSchema(messageSchema) },
  });
  const completions = objectOf([modelSchema, completionsSchema, samplingSchema], {
    prompt: jsonSchema(promptSchema),
  });
  const tokenize = objectOf([modelSchema, tokenizeSchema, templateSchema], {
    messages: { type: 'array', minItems: 1, items: jsonSchema(messageSchema) },
  });
  const detokenize = objectOf([modelSchema, detokenizeSchema], {
    tokens: { type: 'array', items: { type: 'integer', minimum: 0 } },
  });
  return {
    openapi: '3.1.0',
    info: {
      title: `gemlet: ${card.id}`,
      version: '1',
      description:
        "OpenAI's API over Gemma 3. Unknown fields are ignored; null counts as absent; known " +
        'fields that are not supported are refused by name.',
    },
    servers: [{ url: '/' }],
    security: [{ bearer: [] }, {}],
    paths: {
      '/v1/chat/completions': post('Complete a conversation.', 'ChatCompletionRequest', true),
      '/v1/completions': post('Complete text or tokens.', 'CompletionRequest', true),
      '/v1/models': get('List the served model.'),
      '/v1/models/{id}': get('Describe the served model.', ['id']),
      '/tokenize': post('Turn text or messages into token ids.', 'TokenizeRequest', false),
      '/detokenize': post('Turn token ids into text.', 'DetokenizeRequest', false),
      '/health/startup': get('Tell whether loading has finished.'),
      '/health/ready': get('Tell whether requests are taken.'),
      '/health/live': get('Tell whether the process works.'),
      '/metrics': get('Tell Prometheus how the server does.', [], 'text/plain'),
      '/openapi.json': get('This document.'),
    },
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: {
        ChatCompletionRequest: chat,
        CompletionRequest: completions,
        TokenizeRequest: tokenize,
        DetokenizeRequest: detokenize,
        Error: ERROR_SCHEMA,
      },
    },
  };
}

const ERROR_SCHEMA: Json = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['message', 'type', 'param', 'code'],
      properties: {
        message: { type: 'string' },
        type: { type: 'string' },
        param: { type: ['string', 'null'], description: 'Path of the offending field.' },
        code: { type: 'string' },
      },
    },
  },
};

/** Joins object schemas; `overrides` describe fields that are parsed by hand. */
function objectOf(schemas: readonly z.ZodMiniType[], overrides: Json): Json {
  const properties: Record<string, unknown> = {};
  const required: string[] = [];
  for (const schema of schemas) {
    const json = jsonSchema(schema);
    Object.assign(properties, json['properties']);
    required.push(...((json['required'] as readonly string[] | undefined) ?? []));
  }
  Object.assign(properties, overrides);
  return { type: 'object', properties, required };
}

function jsonSchema(schema: z.ZodMiniType): Json {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'output', unrepresentable: 'any' });
  return json;
}

function post(summary: string, schema: string, streams: boolean): Json {
  const answer: Record<string, unknown> = { 'application/json': {} };
  if (streams) answer['text/event-stream'] = {};
  const content = { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } };
  const responses = { 200: { description: 'The answer.', content: answer }, default: failure() };
  return { post: { summary, requestBody: { required: true, content }, responses } };
}

function get(
  summary: string,
  parameters: readonly string[] = [],
  contentType = 'application/json',
): Json {
  return {
    get: {
      summary,
      parameters: parameters.map((name) => ({
        name,
        in: 'path',
        required: true,
        schema: { type: 'string' },
      })),
      responses: {
        200: { description: 'The answer.', content: { [contentType]: {} } },
        default: failure(),
      },
    },
  };
}

function failure(): Json {
  const schema = { $ref: '#/components/schemas/Error' };
  return { description: 'What went wrong.', content: { 'application/json': { schema } } };
}
