import { KNOWN_FIELDS } from './known-fields.ts';
import type { FieldRoute, KnownField, Verdict } from './verdict.ts';

/** Markdown for users: what becomes of every field of this route that is not simply honoured. */
export function describeKnownFields(route: FieldRoute): string {
  const fields = KNOWN_FIELDS.filter((field) => field.route === 'both' || field.route === route);
  const lines = [
    ...list(fields, 'alias', 'Other names', ({ of }) => `the same as \`${of}\``),
    ...list(fields, 'harmless', 'Ignored', ({ why }) => why),
    ...list(fields, 'refuse', 'Refused', ({ passes, hint }) => {
      const values = passes.map((value) => `\`${JSON.stringify(value)}\``);
      return values.length === 0 ? hint : `${hint}; passes: ${values.join(', ')}`;
    }),
  ];
  return lines.join('\n');
}

type VerdictOf<T extends Verdict['type']> = Extract<Verdict, { readonly type: T }>;

/** One line for each thing that is said, with the fields it is said of. */
function list<T extends Verdict['type']>(
  fields: readonly KnownField[],
  type: T,
  title: string,
  say: (verdict: VerdictOf<T>) => string,
): readonly string[] {
  const namesByText = new Map<string, string[]>();
  for (const { name, verdict } of fields) {
    if (!isOf(verdict, type)) continue;
    const text = say(verdict);
    namesByText.set(text, [...(namesByText.get(text) ?? []), `\`${name}\``]);
  }
  const lines = Array.from(namesByText, ([text, names]) => `- ${names.join(', ')}: ${text}`);
  return ['', `**${title}**`, '', ...lines];
}

function isOf<T extends Verdict['type']>(verdict: Verdict, type: T): verdict is VerdictOf<T> {
  return verdict.type === type;
}
