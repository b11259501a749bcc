/** Version, trace id, parent id and flags; fields that later versions append follow a dash. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const LENGTH = 55;

/**
 * The part of a W3C `traceparent` header that all versions share, such as
 * `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`; null unless it is valid.
 */
export function validTraceparent(header: string | undefined): string | null {
  const [, version, traceId = '', parentId = '', , more] = TRACEPARENT.exec(header ?? '') ?? [];
  if (header === undefined || version === undefined || version === 'ff') return null;
  if (version === '00' && more !== undefined) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return null;
  return header.slice(0, LENGTH);
}
