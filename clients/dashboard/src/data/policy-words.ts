// Values of policies as people write and read them, and what a policy says in sentences.
import { count, digits, show } from './format.ts';
import { type Entry, type Field, GROUPS_OF } from './policy-fields.ts';
import { kindOf, type Policy, read } from './policy.ts';
import { parseDuration } from './time.ts';

const LETTERS: Record<string, string> = { m: 'min' };
const SIZES: Record<string, number> = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** `1m30s` is `1 min 30 s`: nothing is rounded. */
export function periodWords(text: string): string {
  return text.replace(/(\d+)(ms|[smhdw])/g, (_, n: string, unit: string) => ` ${n} ${LETTERS[unit] ?? unit}`).trim();
}

/** `64 MiB`, and plain bytes where that would round. */
function bytesWords(bytes: number): string {
  const text = show(bytes, 'By');
  return parseBytes(text) === bytes ? text : `${count(bytes)} B`;
}

/** Bytes of `64 MiB`, `1.5GiB` or `1024`; null when it is none of them. */
export function parseBytes(text: string): number | null {
  const found = /^([\d.]+)\s*(|B|KiB|MiB|GiB|TiB)$/i.exec(text.trim());
  const size = Object.keys(SIZES).find((name) => name.toLowerCase() === found?.[2]?.toLowerCase());
  const bytes = Number(found?.[1]) * (SIZES[size ?? ''] ?? 1);
  return found && Number.isFinite(bytes) ? Math.round(bytes) : null;
}

function isNothing(value: unknown): boolean {
  return value === null || value === undefined || value === false || value === 0 || (typeof value === 'string' && parseDuration(value) === 0);
}

/** A value for a sentence. */
export function valueWords({ kind }: Entry, value: unknown): string {
  if (kind === 'period') return periodWords(String(value));
  if (typeof value !== 'number') return String(value);
  if (kind === 'bytes') return bytesWords(value);
  if (kind === 'share') return show(Number(digits(value * 100)), '%');
  return kind === 'count' ? count(value) : String(value);
}

/** A value as it stands in its input. */
export function valueText({ kind }: Entry, value: unknown): string {
  if (value === null || value === undefined) return '';
  return kind === 'bytes' && typeof value === 'number' ? bytesWords(value).replace(/,/g, '') : String(value);
}

/** What is sent for the text of an input: what cannot be read goes as it is, and the server says what is wrong with it. */
export function valueOf({ kind }: Entry, text: string): unknown {
  const plain = text.trim();
  if (plain === '') return undefined;
  if (kind === 'bytes') return parseBytes(plain) ?? plain;
  if (kind === 'period' || kind === 'choice') return plain;
  const number = Number(plain.replace(/(\d)[\s_](?=\d)/g, '$1'));
  return Number.isFinite(number) ? number : plain;
}

export interface Said {
  path: string;
  text: string;
  /** It is so because nothing else is said. */
  isUsual: boolean;
}

function says(policy: Policy, field: Field): Said {
  const own = read(policy, field.path.split('.'));
  const isUsual = own === undefined || own === null;
  const value = isUsual ? field.usual : own;
  const sentence = field.none && isNothing(value) ? field.none : (field.choices?.[String(value)] ?? field.says);
  return { path: field.path, text: sentence.replace('{}', valueWords(field, value)), isUsual: isUsual || own === field.usual };
}

/** What a policy says, by part; fields that do not count are left out. */
export function sentences(policy: Policy): { title: string; said: Said[] }[] {
  const groups = GROUPS_OF[kindOf(policy)].map(({ title, fields }) => ({ title, said: fields.filter((field) => field.when?.(policy) ?? true).map((field) => says(policy, field)) }));
  return groups.filter(({ said }) => said.length > 0);
}

const TITLES: Record<string, string> = { id: 'Id', name: 'Name', enabled: 'On', 'selector.service': 'Service', 'selector.target': 'For' };
const FIELDS: Field[] = Object.values(GROUPS_OF).flatMap((groups) => groups.flatMap(({ fields }) => fields));

/** How a field of a change is called. */
export function titleOf(path: string): string {
  const label = /^selector\.labels\.(.*)$/.exec(path)?.[1];
  return FIELDS.find((field) => field.path === path)?.title ?? TITLES[path] ?? (label ? `Label ${label}` : path);
}

/** The text of one side of a change; what is not set is as by default. */
export function sideOf(path: string, text: string): string {
  const field = FIELDS.find((one) => one.path === path);
  if (!field) return text || (path.startsWith('selector.') ? 'any' : 'unset');
  if (text === '') return field.usual === null ? 'none' : `${valueWords(field, field.usual)} (default)`;
  return valueWords(field, field.kind === 'period' || field.kind === 'choice' || field.kind === 'yes' ? text : Number(text));
}
