import { ServeError } from '../errors.ts';
import { trimWhitespace } from '../lib/trim-whitespace.ts';
import type { ChatMessage, ImagePart, MessagePart } from './messages.ts';

/** A piece of a rendered conversation; only `control` pieces become control tokens. */
export type TemplatePiece =
  | {
      readonly type: 'text';
      readonly text: string;
      /** Set where this is all that the assistant says in its turn. */
      readonly isAssistant?: true;
    }
  | { readonly type: 'control'; readonly name: 'bos' | 'startOfTurn' | 'endOfTurn' }
  | { readonly type: 'image'; readonly part: ImagePart };

export interface ChatTemplateOptions {
  /**
   * true: accept, refuse and render exactly what Gemma's own template does, its quirks included
   * (only the first part of a system message counts, and a system message alone renders nothing).
   * false: take conversations as OpenAI clients send them, see `foldTurns`.
   */
  readonly strict: boolean;
  /** End with `<start_of_turn>model`. Without effect when `continueFinalMessage` is set. */
  readonly addGenerationPrompt: boolean;
  /**
   * Leave the last message, which must be the assistant's, open. Its text is trimmed at both ends as
   * every text is, which is what the reference continues from: a token rarely ends in a space.
   */
  readonly continueFinalMessage: boolean;
}

interface Turn {
  readonly role: string;
  readonly pieces: TemplatePiece[];
}

/**
 * Renders a conversation in Gemma's format.
 * @throws ServeError invalid_request naming `messages[i]`
 */
export function renderChat(
  messages: readonly ChatMessage[],
  options: ChatTemplateOptions,
): TemplatePiece[] {
  if (messages.length === 0) {
    throw refuse('messages', 'must hold at least one message');
  }
  const { strict, continueFinalMessage } = options;
  const last = messages.length - 1;
  if (continueFinalMessage && messages[last]?.role !== 'assistant') {
    const role = messages[last]?.role;
    throw refuse(`messages[${last}]`, `must be an assistant message to be continued, got ${role}`);
  }

  const turns = strict ? alternateTurns(messages) : foldTurns(messages);
  const pieces: TemplatePiece[] = [{ type: 'control', name: 'bos' }];
  for (const [index, turn] of turns.entries()) {
    pieces.push({ type: 'control', name: 'startOfTurn' }, asText(`${turn.role}\n`));
    // Not spread: a program may give more parts than a call takes arguments.
    for (const piece of markAssistant(turn)) pieces.push(piece);
    if (continueFinalMessage && index === turns.length - 1) return pieces;
    pieces.push({ type: 'control', name: 'endOfTurn' }, asText('\n'));
  }
  if (options.addGenerationPrompt) {
    pieces.push({ type: 'control', name: 'startOfTurn' }, asText('model\n'));
  }
  return pieces;
}

/** Only the model's turns with one text are marked: what else stands there no model has said. */
function markAssistant({ role, pieces }: Turn): readonly TemplatePiece[] {
  const [piece, ...others] = pieces;
  if (role !== 'model' || others.length > 0 || piece?.type !== 'text') return pieces;
  return piece.text === '' ? pieces : [{ ...piece, isAssistant: true }];
}

/** The reference: an optional system message, then user and another role in turns. */
function alternateTurns(messages: readonly ChatMessage[]): Turn[] {
  const turns: Turn[] = [];
  let prefix: TemplatePiece[] = [];
  for (const [index, message] of messages.entries()) {
    if (index === 0 && message.role === 'system') {
      prefix = [asText(`${firstText(message)}\n\n`)];
      continue;
    }
    const isUserExpected = turns.length % 2 === 0;
    if (isUserExpected !== (message.role === 'user')) {
      throw refuse(
        `messages[${index}]`,
        `must be ${isUserExpected ? 'a user' : 'an assistant'} message, got ${message.role}: ` +
          'a system message may only come first, then user and assistant alternate',
      );
    }
    // A later system message keeps its name: the reference prints any role at odd places.
    const role = message.role === 'assistant' ? 'model' : message.role;
    turns.push({ role, pieces: [...prefix, ...message.parts.map(trimmed)] });
    prefix = [];
  }
  return turns;
}

function firstText(message: ChatMessage): string {
  const first = message.parts[0];
  if (first === undefined) return '';
  if (first.type === 'text') return first.text;
  throw refuse(first.param, 'is an image; a system message takes text');
}

/**
 * What OpenAI clients send, by two rules. A system message is user text where it stands, so
 * rendering a longer conversation only appends to a shorter one. Neighbours of one role become one
 * turn, with a blank line between them. Where the reference accepts a conversation with one part in
 * its leading system message and no later one, this renders the same.
 */
function foldTurns(messages: readonly ChatMessage[]): Turn[] {
  const turns: Turn[] = [];
  for (const [index, message] of messages.entries()) {
    const role = message.role === 'assistant' ? 'model' : 'user';
    const isLeadingSystem = index === 0 && message.role === 'system';
    // The reference trims all but the leading system message.
    const pieces = message.parts.map(isLeadingSystem ? untrimmed : trimmed);
    const before = turns.at(-1);
    if (before === undefined || before.role !== role) {
      turns.push({ role, pieces });
      continue;
    }
    const followsSystem = index === 1 && messages[0]?.role === 'system';
    const isSeparated = followsSystem || (hasContent(before.pieces) && hasContent(pieces));
    if (isSeparated) before.pieces.push(asText('\n\n'));
    for (const piece of pieces) before.pieces.push(piece);
  }
  return turns;
}

function hasContent(pieces: readonly TemplatePiece[]): boolean {
  return pieces.some((piece) => piece.type !== 'text' || piece.text !== '');
}

function trimmed(part: MessagePart): TemplatePiece {
  return part.type === 'text' ? asText(trimWhitespace(part.text)) : { type: 'image', part };
}

function untrimmed(part: MessagePart): TemplatePiece {
  return part.type === 'text' ? asText(part.text) : { type: 'image', part };
}

function asText(text: string): TemplatePiece {
  return { type: 'text', text };
}

function refuse(param: string, what: string): ServeError {
  return new ServeError('invalid_request', `${param} ${what}.`, { param });
}
