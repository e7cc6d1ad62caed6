// Invalidations: what was made invalid everywhere, and whether everybody has it.
import type { Schemas } from './fetch.ts';
import { show } from './format.ts';
import { span } from './time.ts';

export type Invalidation = Schemas['InvalidationView'];
export type What = 'keys' | 'tags' | 'prefixes' | 'all';

export interface Wanted {
  service: string;
  keySpace: string;
  what: What;
  /** One a line, or between commas. */
  names: string;
}

export function namesOf(text: string): string[] {
  return text.split(/[\n,]/).map((one) => one.trim()).filter(Boolean);
}

/** As it is sent. */
export function invalidationOf({ service, keySpace, what, names }: Wanted): object {
  return { service: service.trim(), keySpace: keySpace.trim(), ...(what === 'all' ? { all: true } : { [what]: namesOf(names) }) };
}

/** `keys user-7, user-9 of users, shop`. */
export function invalidationWords({ service, keySpace, keys, tags, prefixes, all }: Invalidation): string {
  const part = (what: string, names: string[] = []): string => (names.length === 0 ? '' : `${what} ${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`);
  const what = [all ? 'everything' : '', part('keys', keys), part('tags', tags), part('prefixes', prefixes)].filter(Boolean).join('; ');
  return `${what} of ${keySpace || 'every key space'}, ${service || 'every service'}`;
}

/** `everywhere after 120 ms`, or how long it has waited. */
export function convergenceWords({ converged, convergedAfterS, createdAt }: Invalidation, now: number): string {
  if (!converged) return `on its way for ${span(now - Date.parse(createdAt))}`;
  return typeof convergedAfterS === 'number' ? `everywhere after ${show(convergedAfterS, 's')}` : 'everywhere';
}
