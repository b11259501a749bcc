import { createEdgeRequest } from '../../src/image/edge-request.ts';
import { describeSafeRequest } from '../contracts/describe-safe-request.ts';

describeSafeRequest('the edge request', createEdgeRequest());
