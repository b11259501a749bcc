import { readFileSync } from 'node:fs';
import type { ChatMessage, MessagePart } from '../../src/prompt/messages.ts';

/** A conversation with the reference implementation's greedy answer. */
export interface DemoCase {
  readonly case: number;
  readonly turn: number;
  readonly messages: readonly {
    readonly role: 'system' | 'user' | 'assistant';
    readonly content: string | readonly DemoPart[];
  }[];
  readonly prompt_ids: readonly number[];
  readonly greedy_ids: readonly number[];
  readonly logprobs: readonly number[];
  readonly text: string;
}

type DemoPart =
  | { readonly type: 'text'; readonly text: string }
  | { readonly type: 'image'; readonly file: string };

const FOLDER = new URL('../golden/demo-model/', import.meta.url);

export const DEMO_CASES = JSON.parse(
  readFileSync(new URL('cases.json', FOLDER), 'utf8'),
) as readonly DemoCase[];

export function readDemoPicture(file: string): Uint8Array {
  return new Uint8Array(readFileSync(new URL(file, FOLDER)));
}

/** Pictures of a case in the order of its prompt. */
export function picturesOf(demoCase: DemoCase): string[] {
  return demoCase.messages.flatMap(({ content }) =>
    typeof content === 'string'
      ? []
      : content.flatMap((part) => (part.type === 'image' ? [part.file] : [])),
  );
}

export function chatOf(demoCase: DemoCase): ChatMessage[] {
  return demoCase.messages.map(({ role, content }) => ({
    role,
    parts: typeof content === 'string' ? [{ type: 'text', text: content }] : content.map(toPart),
  }));
}

function toPart(part: DemoPart): MessagePart {
  if (part.type === 'text') return part;
  const source = { type: 'bytes' as const, bytes: readDemoPicture(part.file) };
  return { type: 'image', source, panAndScan: false, param: part.file };
}
