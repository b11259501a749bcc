import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { AwsV4Signer } from 'aws4fetch';

export interface FakeKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** What S3 would answer instead. */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  /** More elements of the XML answer. */
  readonly details?: Readonly<Record<string, string>>;
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;

/** How far clocks may be apart, as on S3. */
const MAX_SKEW_MS = 15 * 60_000;

/**
 * Checks a Signature Version 4 by signing the request again with an implementation that is not the
 * client's, and the payload by its hash.
 * @returns null when all is well
 */
export async function checkSignature(
  request: IncomingMessage,
  body: Uint8Array,
  keys: FakeKeys,
  region: string,
  nowMs: number,
): Promise<Refusal | null> {
  const given = AUTHORIZATION.exec(request.headers.authorization ?? '');
  if (given === null) return refuse(403, 'AccessDenied', 'Access Denied');
  const [, accessKeyId = '', date = '', signedRegion, names = '', signature] = given;
  if (accessKeyId !== keys.accessKeyId) {
    return refuse(403, 'InvalidAccessKeyId', 'The key does not exist in our records.', {
      AWSAccessKeyId: accessKeyId,
    });
  }
  if (signedRegion !== region) {
    return refuse(400, 'AuthorizationHeaderMalformed', `The region is wrong; expecting ${region}`, {
      Region: region,
    });
  }
  const time = String(request.headers['x-amz-date'] ?? '');
  if (!time.startsWith(date)) return refuse(403, 'AccessDenied', 'Dates differ');
  if (Math.abs(timeOf(time) - nowMs) > MAX_SKEW_MS) {
    return refuse(403, 'RequestTimeTooSkewed', 'The clocks are too far apart.');
  }
  if (request.headers['x-amz-security-token'] !== keys.sessionToken) {
    return refuse(400, 'InvalidToken', 'The provided token is malformed or otherwise invalid.');
  }
  const signedNames = names.split(';');
  const mustSign = Object.keys(request.headers).filter((name) => /^(host$|x-amz-)/.test(name));
  if (mustSign.some((name) => !signedNames.includes(name))) {
    return refuse(403, 'AccessDenied', 'There were headers present in the request not signed');
  }
  const signer = new AwsV4Signer({
    ...keys,
    url: `http://${request.headers.host}${request.url}`,
    method: request.method ?? 'GET',
    service: 's3',
    region,
    datetime: time,
    allHeaders: true,
    headers: signedNames
      .filter((name) => name !== 'host')
      .map((name): [string, string] => [name, String(request.headers[name] ?? '')]),
  });
  if ((await signer.signature()) !== signature) {
    return refuse(403, 'SignatureDoesNotMatch', 'The signature does not match.', {
      AWSAccessKeyId: accessKeyId,
      StringToSign: await signer.stringToSign(),
      SignatureProvided: signature ?? '',
    });
  }
  return checkPayload(request, body);
}

function checkPayload(request: IncomingMessage, body: Uint8Array): Refusal | null {
  const hash = String(request.headers['x-amz-content-sha256'] ?? '');
  if (hash.startsWith('STREAMING-')) {
    return refuse(501, 'NotImplemented', 'Chunked signatures are not taken here.');
  }
  if (hash !== 'UNSIGNED-PAYLOAD' && hash !== digest('sha256', body, 'hex')) {
    return refuse(400, 'XAmzContentSHA256Mismatch', 'The body does not have the signed hash.');
  }
  const md5 = request.headers['content-md5'];
  if (md5 !== undefined && md5 !== digest('md5', body, 'base64')) {
    return refuse(400, 'BadDigest', 'The body does not have the MD5 of its header.');
  }
  return null;
}

/** 20261124T101500Z in milliseconds since 1970. */
function timeOf(text: string): number {
  const [, year, month, day, hour, minute, second] =
    /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text) ?? [];
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
}

function digest(algorithm: string, bytes: Uint8Array, encoding: 'hex' | 'base64'): string {
  return createHash(algorithm).update(bytes).digest(encoding);
}

function refuse(
  status: number,
  code: string,
  message: string,
  details: Readonly<Record<string, string>> = {},
): Refusal {
  return { status, code, message, details };
}
