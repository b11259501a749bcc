import type { VisionConfig } from '../model/config.ts';
import type { PromptSegment } from './tokenizer.ts';

/**
 * What one image of a conversation becomes in the prompt. The blank lines are text, so they merge
 * with line breaks next to them, as in the reference.
 * @param viewCount 1 for the image alone; more for the image and its crops
 */
export function expandImage(viewCount: number, vision: VisionConfig): PromptSegment[] {
  const view = expandView(vision);
  if (viewCount === 1) return view;
  const segments: PromptSegment[] = [
    { type: 'text', text: 'Here is the original image ' },
    ...view,
    { type: 'text', text: ' and here are some crops to help you see better ' },
  ];
  for (let crop = 1; crop < viewCount; crop++) {
    if (crop > 1) segments.push({ type: 'text', text: ' ' });
    segments.push(...view);
  }
  return segments;
}

function expandView(vision: VisionConfig): PromptSegment[] {
  const blankLine: PromptSegment = { type: 'text', text: '\n\n' };
  const softToken: PromptSegment = { type: 'control', id: vision.imageTokenId };
  return [
    blankLine,
    { type: 'control', id: vision.beginImageId },
    ...Array.from({ length: vision.tokensPerImage }, () => softToken),
    { type: 'control', id: vision.endImageId },
    blankLine,
  ];
}
