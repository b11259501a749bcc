import koffi from 'koffi';

// Preloaded into the bench's children. One that computes inside a native call hears of nothing, and
// would go on after its parent's end and slow down whatever is measured next; the kernel can end it.

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

if (process.platform === 'linux') {
  const libc = koffi.load(null);
  const prctl = libc.func(
    'int prctl(int option, ulong signal, ulong unused1, ulong unused2, ulong unused3)',
  ) as (...args: number[]) => number;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}
