// The miss-ratio curve: what the hit ratio of memory would be with another life or size, as the SDK tells from a sample of keys.
import { show } from './format.ts';
import type { Row } from './query.ts';

export type Varied = 'ttl' | 'capacity';

export interface CurvePoint {
  /** Of what there is now: 0.5 is half of it. */
  factor: number;
  /** `2 min`, or `2 ×` where nobody knows what there is now. */
  label: string;
  /** Percent of the reads that memory would answer. */
  hits: number;
  /** Bytes that it would take; null when that is not known. */
  bytes: number | null;
}

const FACTOR = 'fastbreak_cache_curve_factor';
export const CHANGE = 'fastbreak_cache_curve_change';
export const CURVE_LABELS = `${CHANGE}, ${FACTOR}`;
const NOW = 1;
/** Less than this is none. */
const LEAST_POINTS = 0.1;

/** Points of one kind, the smallest first; `now` is the life in seconds, or the size in bytes, of factor 1. */
export function curvePoints(varied: Varied, hits: Row[], usage: Row[], now: number | null): CurvePoint[] {
  const of = (rows: Row[]): [number, number][] => rows.filter(({ labels }) => labels[CHANGE] === varied).map(({ labels, value }) => [Number(labels[FACTOR]), value]);
  const bytes = new Map(of(usage));
  const label = (factor: number): string => (now === null ? `${factor} ×` : show(now * factor, varied === 'ttl' ? 's' : 'By'));
  const points = of(hits).map(([factor, ratio]): CurvePoint => ({ factor, label: label(factor), hits: ratio * 100, bytes: bytes.get(factor) ?? null }));
  return points.sort((a, b) => a.factor - b.factor);
}

const signed = (value: number, text: string): string => `${value < 0 ? '−' : '+'}${text}`;

/** `1 min → 2 min: +12 points, +18 MiB`. */
export function stepWords(from: CurvePoint, to: CurvePoint): string {
  const points = to.hits - from.hits;
  const size = Math.abs(points);
  if (size < LEAST_POINTS && from.bytes === to.bytes) return `${from.label} → ${to.label}: no effect`;
  const memory = from.bytes === null || to.bytes === null ? '' : `, ${signed(to.bytes - from.bytes, show(Math.abs(to.bytes - from.bytes), 'By'))}`;
  return `${from.label} → ${to.label}: ${signed(points, `${size < 10 ? Number(size.toFixed(1)) : Math.round(size)} points`)}${memory}`;
}

/** From what is now to twice that and to half of it. */
export function steps(points: CurvePoint[]): string[] {
  const from = points.find(({ factor }) => factor === NOW);
  if (!from) return [];
  const near = [points.find(({ factor }) => factor > NOW), points.findLast(({ factor }) => factor < NOW)];
  return near.flatMap((to) => (to ? [stepWords(from, to)] : []));
}

export const isNow = ({ factor }: CurvePoint): boolean => factor === NOW;
