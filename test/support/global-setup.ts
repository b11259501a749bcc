import type { TestProject } from 'vitest/node';
import { provideRealVocabulary } from './real-vocabulary.ts';

/** Runs once before the test workers start. */
export async function setup(project: TestProject): Promise<void> {
  const vocabulary = await provideRealVocabulary();
  if ('missing' in vocabulary) {
    console.warn(`Gemma's own vocabulary could not be fetched: ${vocabulary.missing}`);
  }
  project.provide('realVocabulary', vocabulary);
}
