// Where traces stand in the scatter: time to the right, duration up, each tenfold as high.
import { show } from '../../data/format.ts';
import { colour } from '../../data/prefs.ts';
import { type Range, stepOf } from '../../data/range.ts';
import { atClock, atShort } from '../../data/time.ts';
import type { Found } from '../../data/traces.ts';

export const HEIGHT = 190;
export const LEFT = 60;
const BOTTOM = 22;
const TOP = 8;
/** How near a click must be. */
const NEAR = 14;

export interface Scale {
  width: number;
  span: Range;
  /** Milliseconds at the bottom and at the top. */
  least: number;
  most: number;
}

export interface Dot {
  trace: Found;
  x: number;
  y: number;
}

export function scaleOf(traces: Found[], span: Range, width: number): Scale {
  const durations = traces.map(({ durationMs }) => Math.max(durationMs, 0.001));
  const least = 10 ** Math.floor(Math.log10(Math.min(...durations, 1000)));
  const most = 10 ** Math.ceil(Math.log10(Math.max(...durations, least * 10) * 1.01));
  return { width, span, least, most };
}

export function dots(traces: Found[], scale: Scale): Dot[] {
  const { span, least, most, width } = scale;
  const high = Math.log(most / least);
  return traces.map((trace) => {
    const at = Date.parse(trace.startedAt);
    const up = Math.log(Math.max(trace.durationMs, least) / least) / high;
    return { trace, x: LEFT + ((at - span.from) / (span.to - span.from)) * (width - LEFT - 6), y: HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP) };
  });
}

export function nearest(all: Dot[], x: number, y: number): Dot | null {
  let [best, least]: [Dot | null, number] = [null, NEAR ** 2];
  for (const dot of all) {
    const away = (dot.x - x) ** 2 + (dot.y - y) ** 2;
    if (away <= least) [best, least] = [dot, away];
  }
  return best;
}

function drawScale(context: CanvasRenderingContext2D, { width, span, least, most }: Scale): void {
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  context.textAlign = 'right';
  const rows = Math.round(Math.log10(most / least));
  for (let row = 0; row <= rows; row += 1) {
    const y = HEIGHT - BOTTOM - (row / rows) * (HEIGHT - BOTTOM - TOP);
    context.fillStyle = colour('--grid');
    context.fillRect(LEFT, Math.round(y), width - LEFT, 1);
    context.fillStyle = colour('--muted');
    context.fillText(show(least * 10 ** row, 'ms'), LEFT - 6, y + 4);
  }
  context.textAlign = 'center';
  const across = (span.to - span.from) / Math.max(Math.floor((width - LEFT) / 90), 1);
  const between = across < 10_000 ? Math.max(Math.ceil(across / 1000), 1) * 1000 : stepOf({ from: 0, to: across }, 1);
  for (let at = Math.ceil(span.from / between) * between; at < span.to; at += between) {
    const text = between < 60_000 ? atClock(at) : atShort(at).split(', ').at(between >= 86_400_000 ? 0 : -1);
    const x = LEFT + ((at - span.from) / (span.to - span.from)) * (width - LEFT - 6);
    if (x > LEFT + 14 && x < width - 14) context.fillText(text ?? '', x, HEIGHT - 6);
  }
}

export function draw(canvas: HTMLCanvasElement, all: Dot[], scale: Scale, chosen: Found | null): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const ratio = window.devicePixelRatio;
  canvas.width = scale.width * ratio;
  canvas.height = HEIGHT * ratio;
  context.scale(ratio, ratio);
  drawScale(context, scale);
  const [good, bad] = [colour('--c1'), colour('--critical')];
  for (const { trace, x, y } of all) {
    const size = Math.min(2.5 + Math.log10(Math.max(trace.spanCount, 1)), 7);
    context.globalAlpha = 0.75;
    context.beginPath();
    // A failed one has another form too, not only another colour.
    if (trace.errorCount > 0) {
      context.fillStyle = bad;
      context.moveTo(x, y - size - 1.5);
      context.lineTo(x + size + 1.5, y);
      context.lineTo(x, y + size + 1.5);
      context.lineTo(x - size - 1.5, y);
    } else {
      context.fillStyle = good;
      context.arc(x, y, size, 0, Math.PI * 2);
    }
    context.fill();
    if (trace !== chosen) continue;
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.strokeStyle = colour('--ink');
    context.beginPath();
    context.arc(x, y, size + 4, 0, Math.PI * 2);
    context.stroke();
  }
}
