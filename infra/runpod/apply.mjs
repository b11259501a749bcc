// @ts-check
// Makes RunPod's endpoint what a file says: node infra/runpod/apply.mjs <file>, with the API key on standard
// input. The endpoint of the same name is changed if there is one, so that running it twice is harmless.
import { readFileSync } from 'node:fs';

const API = process.env['RUNPOD_API_URL'] ?? 'https://api.runpod.io';
const TIMEOUT_MS = 60_000;

const [file] = process.argv.slice(2);
if (file === undefined) fail('Say which file: node apply.mjs gemlet-deploy/gemlet-runpod.json');
const key = readFileSync(0, 'utf8').trim();
/** @type {{ readonly name: string; readonly type: string }} */
const wanted = JSON.parse(readFileSync(file, 'utf8'));

const { endpoints } = /** @type {{ endpoints?: { id: string; name: string }[] }} */ (
  await call('GET', '/v2/serverless')
);
if (!Array.isArray(endpoints)) fail('RunPod listed no endpoints: its API may have changed.');
// FlashBoot once wrote itself into names.
const same = endpoints.filter(({ name }) => name.replace(/ -fb$/, '') === wanted.name);
if (same.length > 1) {
  fail(`RunPod has ${same.length} endpoints named ${wanted.name}: delete or rename all but one.`);
}
const [existing] = same;
// What kind an endpoint is stays as it is.
const { type, ...changes } = wanted;
const { id } = /** @type {{ id: string }} */ (
  existing === undefined
    ? await call('POST', '/v2/serverless', { type, ...changes })
    : await call('PATCH', `/v2/serverless/${existing.id}`, changes)
);
console.log(`${existing === undefined ? 'made' : 'changed'} the endpoint ${id}`);
console.log(`https://${id}.api.runpod.ai`);

/**
 * @param {string} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<unknown>}
 */
async function call(method, path, body) {
  const response = await fetch(`${API}${path}`, {
    method,
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await response.text();
  if (!response.ok) fail(`RunPod answered ${response.status} to ${method} ${path}: ${text}`);
  return JSON.parse(text);
}

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  console.error(message);
  process.exit(1);
}
