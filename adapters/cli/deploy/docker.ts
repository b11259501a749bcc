import { UsageError } from '../read-options.ts';
import type { DeployOptions } from './options.ts';
import { CUDA_NOTE, infraPath, isCheckout, packageRoot, words } from './shared.ts';
import type { Plan } from './steps.ts';

/** @throws UsageError */
export function dockerPlan(options: DeployOptions): Plan {
  const root = packageRoot();
  const image = options.need('image');
  const hasGpu = options.gpu !== 'none';
  if (hasGpu && !isCheckout()) {
    throw new UsageError(
      'The CUDA image is built from a checkout of the repository: run it there.',
    );
  }
  const ofPackage = hasGpu ? 'Dockerfile.cuda' : isCheckout() ? 'Dockerfile' : 'Dockerfile.npm';
  const file = infraPath(`docker/${ofPackage}`);
  return {
    notes: hasGpu ? [CUDA_NOTE] : [],
    steps: [
      {
        kind: 'run',
        command: 'docker',
        args: words('build --platform linux/amd64 --file', [file, '--tag', image, root]),
        env: { DOCKER_BUILDKIT: '1' },
      },
      ...(options.pushes
        ? [{ kind: 'run', command: 'docker', args: ['push', image] } as const]
        : []),
    ],
    ending: [
      `It answers at http://127.0.0.1:8787 after: docker run --rm --publish 127.0.0.1:8787:8787 --env GEMLET_MODEL=<where> ${image}`,
    ],
  };
}
