// Times as people write and read them.
const UNITS: Record<string, number> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5, M: 2592e6, y: 31_536e6 };
const RELATIVE = /^now(?:-(\d+)([smhdwMy]))?$/;

export function isRelative(text: string): boolean {
  return RELATIVE.test(text);
}

/** Milliseconds of `now`, `now-6h`, ISO 8601 or milliseconds; null when it is none of them. */
export function parseTime(text: string, now: number): number | null {
  const relative = RELATIVE.exec(text);
  if (relative) return now - Number(relative[1] ?? 0) * (UNITS[relative[2] ?? 's'] ?? 0);
  if (/^\d{12,14}$/.test(text)) return Number(text);
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

export function absolute(at: number): string {
  return new Date(Math.round(at / 1000) * 1000).toISOString().replace('.000Z', 'Z');
}

/** Seconds of a duration such as `5m`, `1h30m`; null when it is none. */
export function parseDuration(text: string): number | null {
  if (!/^(\d+(ms|[smhdw]))+$/.test(text)) return null;
  let seconds = 0;
  for (const [, n, unit] of text.matchAll(/(\d+)(ms|[smhdw])/g)) {
    seconds += Number(n) * (unit === 'ms' ? 0.001 : (UNITS[unit ?? 's'] ?? 0) / 1000);
  }
  return seconds;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
const short = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium', hour12: false });

export const atClock = (at: number): string => clock.format(at);
export const atShort = (at: number): string => short.format(at);
export const atFull = (at: number): string => full.format(at);

/** `45 s`, `12 min`, `3.5 h`, `2 d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 1) return `${Math.round(ms)} ms`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${trim(seconds / 3600)} h`;
  return `${trim(seconds / 86_400)} d`;
}

function trim(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '');
}

export function ago(at: number, now: number): string {
  const ms = now - at;
  return ms < 1500 ? 'now' : `${span(ms)} ago`;
}
