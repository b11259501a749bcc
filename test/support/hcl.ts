import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
// Its own types bring those of browsers along, which would change the meaning of all tests.
const hcl2json = require('@cdktn/hcl2json') as {
  parse(name: string, text: string): Promise<Readonly<Record<string, unknown>>>;
};

/** Terraform's language as JSON; blocks become lists, expressions stay texts such as `${var.slots}`. */
export function parseHcl(name: string, text: string): Promise<Readonly<Record<string, unknown>>> {
  return hcl2json.parse(name, text);
}
