import { vi } from 'vitest';
import type { FakeKeys } from './fake-s3-signature.ts';

/** What the AWS SDK would otherwise find on this machine. */
const OTHERS = [
  'AWS_PROFILE',
  'AWS_DEFAULT_REGION',
  'AWS_ENDPOINT_URL',
  'AWS_ENDPOINT_URL_S3',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_ROLE_ARN',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
];

/** Sets what the AWS SDK reads from the environment, and nothing else, until `vi.unstubAllEnvs`. */
export function stubAwsEnvironment(keys: FakeKeys | null, region: string | undefined): void {
  for (const name of OTHERS) vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_ACCESS_KEY_ID', keys?.accessKeyId);
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', keys?.secretAccessKey);
  vi.stubEnv('AWS_SESSION_TOKEN', keys?.sessionToken);
  vi.stubEnv('AWS_REGION', region);
  vi.stubEnv('AWS_CONFIG_FILE', '/dev/null');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/dev/null');
  // No look for the metadata service of a cloud's machine.
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
}
