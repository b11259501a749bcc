import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ServeError } from '../../src/errors.ts';
import type { ObjectSource } from '../../src/weights/object-source.ts';

/** One source under test and the hands to change what it reads from. */
export interface ObjectSourceSetup {
  readonly source: ObjectSource;
  /** Creates or replaces an object, so that a source that can notice does. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  dispose(): Promise<void>;
}

const KEY = 'model.safetensors';

/** Cases that every `ObjectSource` passes. */
export function describeObjectSource(name: string, make: () => Promise<ObjectSourceSetup>): void {
  describe(`${name} as an ObjectSource`, () => {
    let setup: ObjectSourceSetup;
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 31 + (i >>> 8)) & 255);

    beforeEach(async () => {
      setup = await make();
      await setup.put(KEY, bytes);
    });
    afterEach(async () => {
      await setup.source.close();
      await setup.dispose();
    });

    const readFault = async (...args: Parameters<ObjectSource['read']>): Promise<ServeError> => {
      const error: unknown = await setup.source.read(...args).catch((reason: unknown) => reason);
      if (!ServeError.is(error)) throw new Error('expected a ServeError', { cause: error });
      return error;
    };

    it('tells the size of an object and null for an absent one', async () => {
      expect((await setup.source.head(KEY))?.sizeBytes).toBe(bytes.length);
      expect(await setup.source.head('absent.json')).toBeNull();
    });

    it('tells the same etag for the same bytes', async () => {
      const first = await setup.source.head(KEY);
      expect(first?.etag).not.toBeNull();
      expect(await setup.source.head(KEY)).toEqual(first);
    });

    it.each([
      [0, 100_000],
      [0, 8],
      [12_345, 54_321],
      [99_999, 1],
    ])('reads from %i, %i bytes', async (offset, length) => {
      const target = new Uint8Array(length);
      await setup.source.read(KEY, offset, target);
      expect(Buffer.from(target).equals(bytes.subarray(offset, offset + length))).toBe(true);
    });

    it('reads into a part of a buffer and leaves the rest alone', async () => {
      const buffer = new Uint8Array(30).fill(7);
      await setup.source.read(KEY, 1000, buffer.subarray(10, 20));
      expect([...buffer]).toEqual([
        ...Array(10).fill(7),
        ...bytes.subarray(1000, 1010),
        ...Array(10).fill(7),
      ]);
    });

    it('reads nothing when nothing is asked for, even at the end', async () => {
      await setup.source.read(KEY, bytes.length, new Uint8Array(0));
    });

    it('serves many reads at once', async () => {
      const targets = Array.from({ length: 20 }, () => new Uint8Array(1000));
      await Promise.all(targets.map((target, i) => setup.source.read(KEY, i * 4000, target)));
      targets.forEach((target, i) => {
        expect(Buffer.from(target).equals(bytes.subarray(i * 4000, i * 4000 + 1000))).toBe(true);
      });
    });

    it('refuses a read past the end and names source and object', async () => {
      const error = await readFault(KEY, bytes.length - 4, new Uint8Array(5));
      expect(error.message).toContain(setup.source.name);
      expect(error.message).toContain(KEY);
    });

    it('refuses to read an absent object and names source and object', async () => {
      const error = await readFault('absent.json', 0, new Uint8Array(1));
      expect(error.code).toBe('weights_unavailable');
      expect(error.message).toContain(setup.source.name);
      expect(error.message).toContain('absent.json');
    });

    it.each([
      '../secret',
      'a/../../secret',
      '/etc/passwd',
      'a//b',
      '',
      '.',
      'a\\..\\b',
      'a\u0000b',
    ])('never leaves its folder for %j', async (key) => {
      await expect(setup.source.head(key)).rejects.toMatchObject({ code: 'invalid_checkpoint' });
      expect((await readFault(key, 0, new Uint8Array(1))).code).toBe('invalid_checkpoint');
    });

    it('reads objects in subfolders', async () => {
      await setup.put('sub folder/a+b.json', Uint8Array.of(1, 2));
      const target = new Uint8Array(2);
      await setup.source.read('sub folder/a+b.json', 0, target);
      expect([...target]).toEqual([1, 2]);
    });

    it('fails rather than mix two versions of an object', async () => {
      await setup.source.head(KEY);
      await setup.source.read(KEY, 0, new Uint8Array(1000));
      await setup.put(KEY, bytes.map((byte) => 255 - byte).slice(0, 90_000));
      const error = await readFault(KEY, 2000, new Uint8Array(1000));
      expect(error.code).toBe('weights_unavailable');
      expect(error.message).toContain('changed');
    });

    it('rejects with the signal’s reason when already aborted', async () => {
      const reason = new Error('enough');
      const signal = AbortSignal.abort(reason);
      await expect(setup.source.head(KEY, signal)).rejects.toBe(reason);
      await expect(setup.source.read(KEY, 0, new Uint8Array(8), signal)).rejects.toBe(reason);
    });

    it('reads the same without waiting, where it can', async () => {
      if (setup.source.readSync === undefined) return;
      const target = new Uint8Array(5000);
      setup.source.readSync(KEY, 777, target);
      expect(Buffer.from(target).equals(bytes.subarray(777, 5777))).toBe(true);
      const { source } = setup;
      expect(() => source.readSync?.(KEY, bytes.length, new Uint8Array(1))).toThrow(KEY);
      expect(() => source.readSync?.('absent.json', 0, new Uint8Array(1))).toThrow('absent.json');
      expect(() => source.readSync?.('../x', 0, new Uint8Array(1))).toThrow('plain file name');
    });

    it('lists its objects, where it can', async () => {
      if (setup.source.list === undefined) return;
      await setup.put('config.json', Uint8Array.of(1));
      expect((await setup.source.list()).toSorted()).toEqual(['config.json', KEY]);
    });

    it('refuses to read once it is closed', async () => {
      await setup.source.read(KEY, 0, new Uint8Array(8));
      await setup.source.close();
      await expect(setup.source.read(KEY, 0, new Uint8Array(8))).rejects.toThrow('closed');
      await setup.source.close();
    });
  });
}
