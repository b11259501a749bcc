import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UsageError } from '../read-options.ts';
import { type DeployOptions, needReplicas } from './options.ts';
import { infraText, packageRoot, words } from './shared.ts';
import type { Plan } from './steps.ts';

const LAMBDA_INDEX = "export { handler } from 'gemlet/adapters/cli/lambda-main';\n";
const SDK = '@aws-sdk/client-s3';
/** CloudFormation's way to the URL of the function. */
const ADDRESS = "Stacks[0].Outputs[?OutputKey=='Address'].OutputValue";

/** @throws UsageError */
export function awsPlan(options: DeployOptions): Plan {
  const { name } = options;
  const region = ['--region', options.need('region')];
  const folder = `gemlet-deploy/${name}-aws`;
  const template = `${folder}/template.yaml`;
  const packaged = `${folder}/packaged.yaml`;
  const bundle = options.get('bundle');
  const parameters = parametersOf(options);
  // The package without the engine's optional parts is a few megabytes.
  const install = words(
    'install --install-links --omit=optional --ignore-scripts --no-audit --no-fund',
    ['--prefix', `${folder}/code`, packageRoot()],
    bundle?.startsWith('s3://') === true ? [sdkPackage()] : [],
  );
  const bucket = ['--s3-bucket', options.need('bucket')];
  const secrets = [
    parameters['Upstream'] === '' ? parameters['FleetKeySecret'] : parameters['UpstreamKeySecret'],
    parameters['ApiKeySecret'],
    parameters['ReplicaHeaderSecret'],
  ].filter((secret) => secret !== '' && secret !== undefined);
  return {
    notes: [`Needs the Secrets Manager secrets ${secrets.join(', ')}`],
    steps: [
      { kind: 'file', path: template, text: infraText('aws/template.yaml') },
      { kind: 'file', path: `${folder}/code/index.mjs`, text: LAMBDA_INDEX },
      { kind: 'run', command: 'npm', args: install },
      {
        kind: 'run',
        command: 'aws',
        args: words('cloudformation package --template-file', [
          template,
          '--output-template-file',
          packaged,
          ...bucket,
          ...region,
        ]),
      },
      {
        kind: 'run',
        command: 'aws',
        args: words(
          'cloudformation deploy --no-fail-on-empty-changeset --capabilities CAPABILITY_IAM',
          ['--template-file', packaged, '--stack-name', name, '--parameter-overrides'],
          Object.entries(parameters).map(([key, value]) => `${key}=${value}`),
          region,
        ),
      },
      {
        kind: 'run',
        command: 'aws',
        args: words('cloudformation describe-stacks --output text --stack-name', [
          name,
          '--query',
          ADDRESS,
          ...region,
        ]),
      },
    ],
    ending: ['The URL above is its address'],
  };
}

/** All of the template, empty ones too: CloudFormation would keep what the last deployment said. */
function parametersOf(options: DeployOptions): Readonly<Record<string, string>> {
  const upstream = options.get('upstream');
  const bundle = options.get('bundle');
  const isFleet = upstream === null;
  if (!isFleet && options.replicas.length > 0) {
    throw new UsageError('Give --replica or --upstream, not both.');
  }
  return {
    Replicas: isFleet ? needReplicas(options) : '',
    Affinity: options.get('affinity') ?? '',
    Upstream: upstream ?? '',
    UpstreamKind: options.get('upstream-kind') ?? '',
    UpstreamModel: options.get('upstream-model') ?? '',
    Bundle: bundle ?? '',
    BundleObjects: bundle?.startsWith('s3://') === true ? bundle.slice('s3://'.length) : '',
    ModelId: options.get('model-id') ?? '',
    Context: options.get('context') ?? '',
    FleetKeySecret: 'gemlet/fleet-key',
    ApiKeySecret: 'gemlet/api-key',
    ReplicaHeaderSecret: options.get('replica-header-secret') ?? '',
    UpstreamKeySecret: options.get('upstream-key-secret') ?? '',
    Concurrency: options.get('concurrency') ?? '0',
    TimeoutSeconds: options.get('timeout') ?? '900',
  };
}

/** The S3 client that bundles are read with, in the version that gemlet was tested with. */
function sdkPackage(): string {
  const text = readFileSync(join(packageRoot(), 'package.json'), 'utf8');
  const manifest = JSON.parse(text) as Readonly<Record<string, Record<string, string> | undefined>>;
  const groups = ['dependencies', 'optionalDependencies', 'peerDependencies'];
  const version = groups.map((group) => manifest[group]?.[SDK]).find((item) => item !== undefined);
  return version === undefined ? SDK : `${SDK}@${version}`;
}
