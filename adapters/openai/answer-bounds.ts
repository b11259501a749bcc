import type { Frame, UpstreamCall } from './call.ts';
import { lost } from './fault.ts';

/** Characters of JSON that a frame, or an answer that is none of a stream, has besides what grows with the request. */
export const FRAME_CHARACTERS: number = 4 * 2 ** 20;
/** Of a token with its log probability, and of each alternative, as the wordiest server shows them. */
const TOKEN_CHARACTERS = 160;
/** Longer than any token's text: Gemma's longest has 31 characters, other vocabularies' 128. */
const TEXT_CHARACTERS = 256;
/** Some show the token that ends a turn beyond the limit. */
const SPARE_TOKENS = 1;
/** Frames that tell the role, the counts and the end. */
const SPARE_FRAMES = 64;

/** Tokens that an answer to this call may have. */
function tokensOf({ sampling, contextTokens }: UpstreamCall): number {
  return (sampling.maxTokens ?? contextTokens) + SPARE_TOKENS;
}

/**
 * Characters that one frame of the answer may have: SGLang's repeat all that was said so far, llama.cpp's
 * and vLLM's come whole, with all log probabilities.
 */
export function frameCharacters(call: UpstreamCall): number {
  const { sampling, contextTokens, reportsPrompt } = call;
  const answer = tokensOf(call) * (1 + (sampling.logprobs ?? 0));
  const prompt = reportsPrompt ? contextTokens * (1 + (sampling.promptLogprobs ?? 0)) : 0;
  return FRAME_CHARACTERS + (answer + prompt) * TOKEN_CHARACTERS;
}

/**
 * Creates what looks at each frame of one answer: a server that was taken over, or is broken, must not cost
 * more than the answer that was asked for.
 * @throws ServeError upstream_unavailable, from the function, for a frame beyond it
 */
export function createAnswerBounds(call: UpstreamCall): (frame: Frame) => void {
  const tokens = tokensOf(call);
  let tokensLeft = tokens;
  let charactersLeft = tokens * TEXT_CHARACTERS;
  // No server says less than a token in a frame, but for those that carry none.
  let framesLeft = tokens + SPARE_FRAMES;
  return (frame) => {
    tokensLeft -= frame.tokens.length;
    charactersLeft -= frame.text.length;
    framesLeft--;
    if (Math.min(tokensLeft, charactersLeft, framesLeft) < 0) {
      throw lost('said more than it was asked for');
    }
  };
}
