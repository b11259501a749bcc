import { describe, expect, it } from 'vitest';
import { createBodyBudget } from '../../src/limits/body-budget.ts';
import { thrownBy } from '../support/thrown-by.ts';

const full = { code: 'overloaded', status: 503, retryable: true, bound: 'maxBodiesBytes' };

describe('a budget of bodies', () => {
  it('is shared by all, of whom one key gets half', () => {
    const budget = createBodyBudget(100);
    const [a, b, c] = [budget.lease(), budget.lease(), budget.lease()];
    a?.add(50, 'a');
    expect(thrownBy(() => a?.add(1, 'a'))).toMatchObject(full);
    b?.add(40, 'b');
    expect(thrownBy(() => c?.add(11, 'c'))).toMatchObject(full);
    c?.add(10, 'c');
    expect(budget.heldBytes).toBe(100);
    a?.release();
    a?.release();
    expect(budget.heldBytes).toBe(50);
    a?.add(50, 'a');
  });

  it('is all for everyone where there are no keys', () => {
    const budget = createBodyBudget(100);
    budget.lease().add(100, '');
    expect(thrownBy(() => budget.lease().add(1, ''))).toMatchObject(full);
  });
});
