import { expect, it } from 'vitest';
import { createHideSent } from '../../../adapters/openai/hide-sent.ts';

const body = {
  model: 'google/gemma-3-4b-it',
  prompt: 'My grandmother lives in a yellow house by the sea.',
  messages: [{ role: 'user', content: [{ type: 'text', text: 'xyzzy' }] }],
};
const hide = createHideSent(body);

it.each([
  [`cannot read '${body.prompt}' here`, "cannot read '...' here"],
  ['bad: "grandmother lives in a yellow" and xyzzy', 'bad: "..." and ...'],
  [`${body.prompt}${body.prompt}`, '......'],
  [
    'model google/gemma-3-4b-it is not there for user',
    'model google/gemma-3-4b-it is not there for user',
  ],
  ['', ''],
])('of %j shows %j', (said, shown) => {
  expect(hide(said)).toBe(shown);
});

it('has nothing to hide where nothing was sent', () => {
  expect(createHideSent(null)('CUDA out of memory')).toBe('CUDA out of memory');
});
