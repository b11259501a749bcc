import { describe, inject, test } from 'vitest';
import type { RealVocabulary, RealVocabularyOrReason } from './real-vocabulary.ts';

declare module 'vitest' {
  interface ProvidedContext {
    realVocabulary: RealVocabularyOrReason;
  }
}

/**
 * A `describe` whose tests need Gemma's own vocabulary. Without it they are skipped, or fail where
 * GEMLET_REQUIRE_VOCABULARY is 1.
 */
export function describeWithRealVocabulary(
  name: string,
  body: (files: RealVocabulary) => void,
): void {
  const files = inject('realVocabulary');
  if (!('missing' in files)) {
    describe(name, () => body(files));
  } else if (isRequired()) {
    test(name, () => {
      throw new Error(`Gemma's vocabulary is required but missing: ${files.missing}`);
    });
  } else {
    describe.skip(`${name} (no vocabulary: ${files.missing})`, () => {
      test('needs the vocabulary', () => {});
    });
  }
}

function isRequired(): boolean {
  return process.env['GEMLET_REQUIRE_VOCABULARY'] === '1';
}
