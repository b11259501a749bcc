import { readFileSync } from 'node:fs';

const FOLDER = new URL('../../infra/demo-model/', import.meta.url);

/** A file of the demo model that comes with this repository. */
export function readDemoFile(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(name, FOLDER)));
}

export function readDemoJson(name: string): unknown {
  return JSON.parse(new TextDecoder().decode(readDemoFile(name)));
}
