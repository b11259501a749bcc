/** String.prototype.toWellFormed, which the library we compile against lacks. */
export function toWellFormed(text: string): string {
  return text.replaceAll(/\p{Surrogate}/gu, '\ufffd');
}
