// The time range of the page: relative (`now-6h`) or absolute, kept in the address.
import { computed, signal } from '@preact/signals';
import { absolute, isRelative, parseTime } from './time.ts';
import { param, params, set } from './url.ts';

export interface Range {
  from: number;
  to: number;
}

export const DEFAULT_FROM = 'now-1h';

/** Moves on while the range ends now. */
export const now = signal(Date.now());
export const paused = signal(false);
/** Width of the server's windows. */
export const windowMs = signal(10_000);

export const fromText = computed(() => params.value.get('from') ?? DEFAULT_FROM);
export const toText = computed(() => params.value.get('to') ?? 'now');
export const isLive = computed(() => toText.value === 'now' && !paused.value);
export const compares = computed(() => params.value.get('compare') === '1');

/** The range as it was when it was last asked for: it does not move by itself, so charts do not ask again each second. */
const asked = signal(0);
export const range = computed<Range>(() => {
  void asked.value;
  const at = Date.now();
  const to = parseTime(toText.value, at) ?? at;
  const from = parseTime(fromText.value, at) ?? to - 3_600_000;
  return from < to ? { from, to } : { from: to - 3_600_000, to };
});

/** Looks again from here. */
export function refresh(): void {
  asked.value += 1;
}

export function setRange(from: string, to: string): void {
  set({ from: from === DEFAULT_FROM && to === 'now' ? null : from, to: to === 'now' ? null : to });
}

export function zoomTo(from: number, to: number): void {
  if (to - from >= 10_000) setRange(absolute(from), absolute(to));
}

export function zoomOut(): void {
  const { from, to } = range.value;
  const span = to - from;
  if (isRelative(fromText.value) && toText.value === 'now') {
    setRange(`now-${Math.round((span * 2) / 60_000)}m`, 'now');
    return;
  }
  const end = Math.min(to + span / 2, Date.now());
  setRange(absolute(end - span * 2), absolute(end));
}

export function shift(direction: -1 | 1): void {
  const { from, to } = range.value;
  const by = ((to - from) / 2) * direction;
  setRange(absolute(from + by), absolute(to + by));
}

export function toggleCompare(): void {
  set({ compare: param('compare') === '1' ? null : '1' });
}

const STEPS = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** Milliseconds between points: about 240 of them, of a round width. */
export function stepOf({ from, to }: Range, points = 240): number {
  const seconds = (to - from) / 1000 / points;
  return (STEPS.find((step) => step >= seconds) ?? 86_400) * 1000;
}
