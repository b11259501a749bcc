import { describe, expect, it } from 'vitest';
import { headerSessionKey, sessionKeyOf } from '../../src/sessions/session-key.ts';
import { thrownBy } from '../support/thrown-by.ts';

const keyOf = (id: string): string | null => headerSessionKey(new Headers({ 'x-session-id': id }));

describe('a session key', () => {
  it.each(['.', '..'])('is not %s, which no URL reaches', (id) => {
    expect(thrownBy(() => keyOf(id))).toMatchObject({
      code: 'invalid_request',
      param: 'x-session-id',
    });
    expect(sessionKeyOf(null, id)).toBeNull();
  });

  it.each(['...', '.a', 'a..', '..\u002f'])('may be %s', (id) => {
    expect(keyOf(id)).toBe(id);
  });
});
