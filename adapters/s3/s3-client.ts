import type * as Sdk from '@aws-sdk/client-s3';
import { ServeError } from '../../src/errors.ts';

export interface S3ClientOptions {
  /** Of another provider than AWS, such as `https://account.r2.cloudflarestorage.com`. */
  readonly endpoint?: string | undefined;
  /** Default: the SDK's own search (AWS_REGION, the profile). */
  readonly region?: string | undefined;
  /** A client to use as it is; it is not closed here, and its own retries come on top of ours. */
  readonly client?: Sdk.S3Client | undefined;
}

/** The SDK, loaded, and a client of it. */
export interface S3Api {
  readonly sdk: typeof Sdk;
  readonly client: Sdk.S3Client;
}

/** Other providers mostly ignore the region, but signatures need one. */
const REGION_ELSEWHERE = 'us-east-1';
const PACKAGE = '@aws-sdk/client-s3';

/**
 * Loads the SDK, which is heavy and optional, and makes a client of it. Credentials are found by the
 * SDK's chain: environment, profile, web identity, the machine's role.
 * @param name the store, for messages
 * @throws ServeError backend_unavailable: the package is missing; weights_unavailable: no region
 */
export async function openS3Api(name: string, options: S3ClientOptions): Promise<S3Api> {
  const sdk = await loadSdk(name);
  if (options.client !== undefined) return { sdk, client: options.client };
  const { endpoint, region } = options;
  const config: Sdk.S3ClientConfig = {
    // Retries are ours: they go on after the last good byte, and know how to stop.
    maxAttempts: 1,
    // Checksums in trailers are refused or stored as content by other providers.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(region === undefined ? {} : { region }),
    // Buckets are not names in the DNS of other providers.
    ...(endpoint === undefined ? {} : { endpoint: checkEndpoint(endpoint), forcePathStyle: true }),
  };
  const client = new sdk.S3Client(config);
  try {
    await client.config.region();
    return { sdk, client };
  } catch (error) {
    client.destroy();
    if (endpoint !== undefined) {
      return { sdk, client: new sdk.S3Client({ ...config, region: REGION_ELSEWHERE }) };
    }
    throw new ServeError(
      'weights_unavailable',
      `${name}: no region is set; set AWS_REGION to the bucket's, or AWS_ENDPOINT_URL_S3 for another provider than AWS`,
      { cause: error },
    );
  }
}

async function loadSdk(name: string): Promise<typeof Sdk> {
  try {
    return await import('@aws-sdk/client-s3');
  } catch (error) {
    throw new ServeError(
      'backend_unavailable',
      `${name} needs the optional package ${PACKAGE}, which could not be loaded; run: npm install ${PACKAGE}`,
      { cause: error },
    );
  }
}

/** @returns `endpoint`; the SDK's own words for a wrong one name neither it nor its origin */
function checkEndpoint(endpoint: string): string {
  let url: URL;
  try {
    url = new URL(endpoint);
  } catch {
    throw invalidEndpoint('it is not a URL');
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw invalidEndpoint('it must begin with https:// or http://');
  }
  if (url.username !== '' || url.password !== '') {
    throw invalidEndpoint('it must not hold a user name or password');
  }
  return endpoint;
}

function invalidEndpoint(problem: string): ServeError {
  return new ServeError(
    'invalid_url',
    `The S3 endpoint (AWS_ENDPOINT_URL_S3) is wrong: ${problem}; it looks like https://host`,
  );
}
