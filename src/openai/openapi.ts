import * as z from 'zod/mini';
import type { ModelCard } from '../completer.ts';
import { chatSchema, templateSchema } from './chat-request.ts';
import { completionsSchema, promptSchema } from './completions-request.ts';
import { describeKnownFields } from './known-fields/describe.ts';
import { messageSchema } from './messages.ts';
import { modelSchema } from './model-field.ts';
import {
  SESSION_HEADERS,
  SESSION_LIST_PARAMETERS,
  SESSION_LIST_SCHEMA,
  SESSION_SCHEMA,
} from './openapi-sessions.ts';
import { samplingSchema } from './sampling-fields.ts';
import { sessionChangeSchema, sessionForkSchema } from './session-request.ts';
import { detokenizeSchema, tokenizeSchema } from './tokenize-request.ts';
import { USAGE_SCHEMA } from './usage.ts';

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
      '/v1/jobs/{id}': {
        ...get('Fetch an answer asked for with Prefer: respond-async.', ['id'], JOB_REF),
        ...withoutBody('delete', 'Cancel and forget such an answer.', ['id']),
      },
      '/v1/sessions': {
        get: {
          summary: 'List your sessions, latest created first.',
          parameters: SESSION_LIST_PARAMETERS,
          responses: answered({ $ref: '#/components/schemas/SessionList' }),
        },
      },
      '/v1/sessions/{id}': {
        ...get('Describe a session and where its keys and values lie.', ['id'], SESSION_REF),
        put: sessionChange('Change metadata or lifetime.', sessionChangeSchema, true),
        ...withoutBody('delete', 'Forget a session in memory and store.', ['id']),
      },
      '/v1/sessions/{id}/fork': {
        post: sessionChange(
          'Make a session that goes on from what this one holds now.',
          sessionForkSchema,
          false,
        ),
      },
      '/tokenize': post('Turn text or messages into token ids.', 'TokenizeRequest', false),
      '/detokenize': post('Turn token ids into text.', 'DetokenizeRequest', false),
      '/health/startup': get('Tell whether loading has finished.'),
      '/health/ready': get('Tell whether requests are taken; of a gateway also how its fleet is.'),
      '/health/live': get('Tell whether the process works.'),
      '/health': get('The same as /health/ready; also /v1/health and /ping.'),
      '/version': get('Tell the version of the program.'),
      '/metrics': get('Tell Prometheus how the server does.', [], null, 'text/plain'),
      '/openapi.json': get('This document.'),
    },
    components: {
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      schemas: {
        ChatCompletionRequest: { ...chat, description: describeKnownFields('chat') },
        CompletionRequest: { ...completions, description: describeKnownFields('completions') },
        TokenizeRequest: tokenize,
        DetokenizeRequest: detokenize,
        Usage: USAGE_SCHEMA,
        Job: JOB_SCHEMA,
        Session: SESSION_SCHEMA,
        SessionList: SESSION_LIST_SCHEMA,
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

const JOB_SCHEMA: Json = {
  type: 'object',
  required: ['id', 'object', 'created_at', 'status'],
  properties: {
    id: { type: 'string' },
    object: { const: 'job' },
    created_at: { type: 'integer', description: 'Seconds since 1970.' },
    status: { enum: ['queued', 'running', 'completed', 'failed'] },
    response: {
      type: 'object',
      description: 'When it is over: the status and body that the direct answer would have had.',
      required: ['status_code', 'body'],
      properties: { status_code: { type: 'integer' }, body: { type: 'object' } },
    },
    error: { type: 'object', description: 'When it failed: the error of that body.' },
  },
};
const JOB_REF: Json = { $ref: '#/components/schemas/Job' };
const ANSWER_SCHEMA: Json = {
  type: 'object',
  properties: { usage: { $ref: '#/components/schemas/Usage' } },
};
const SESSION_REF: Json = { $ref: '#/components/schemas/Session' };

/** What `Prefer: respond-async` adds to a route. */
const PREFER_HEADER: Json = {
  name: 'Prefer',
  in: 'header',
  schema: { type: 'string' },
  description: 'respond-async: answer 202 at once and fetch the answer as a job; not with stream.',
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

/** @param completes answers by stream and job too */
function post(summary: string, schema: string, completes: boolean): Json {
  const answer: Json = completes
    ? { 'application/json': { schema: ANSWER_SCHEMA }, 'text/event-stream': {} }
    : { 'application/json': {} };
  const content = { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } };
  const accepted = {
    description: 'Accepted as a job.',
    headers: { location: { schema: { type: 'string' }, description: 'Path of the job.' } },
    content: { 'application/json': { schema: JOB_REF } },
  };
  return {
    post: {
      summary,
      ...(completes ? { parameters: [PREFER_HEADER, ...SESSION_HEADERS] } : {}),
      requestBody: { required: true, content },
      responses: {
        200: { description: 'The answer.', content: answer },
        ...(completes ? { 202: accepted } : {}),
        default: failure(),
      },
    },
  };
}

function get(
  summary: string,
  parameters: readonly string[] = [],
  schema: Json | null = null,
  contentType = 'application/json',
): Json {
  return withoutBody('get', summary, parameters, schema, contentType);
}

function withoutBody(
  method: 'get' | 'delete',
  summary: string,
  parameters: readonly string[],
  schema: Json | null = null,
  contentType = 'application/json',
): Json {
  const content = { [contentType]: schema === null ? {} : { schema } };
  return {
    [method]: {
      summary,
      parameters: parameters.map(pathParameter),
      responses: { 200: { description: 'The answer.', content }, default: failure() },
    },
  };
}

function sessionChange(summary: string, schema: z.ZodMiniType, required: boolean): Json {
  return {
    summary,
    parameters: [pathParameter('id')],
    requestBody: { required, content: { 'application/json': { schema: jsonSchema(schema) } } },
    responses: answered(SESSION_REF),
  };
}

function pathParameter(name: string): Json {
  return { name, in: 'path', required: true, schema: { type: 'string' } };
}

function answered(schema: Json): Json {
  const content = { 'application/json': { schema } };
  return { 200: { description: 'The answer.', content }, default: failure() };
}

function failure(): Json {
  const schema = { $ref: '#/components/schemas/Error' };
  return { description: 'What went wrong.', content: { 'application/json': { schema } } };
}
