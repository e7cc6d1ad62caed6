// Cells of a heatmap on a canvas, and what a pointer or a key means there.
import { show } from '../../data/format.ts';
import { colour } from '../../data/prefs.ts';
import { stepOf } from '../../data/range.ts';
import { atClock, atShort } from '../../data/time.ts';
import { type Area, type At, sides } from './area.ts';
import { type Cells, depth } from './cells.ts';

export const HEIGHT = 220;
const LEFT = 60;
const BOTTOM = 22;

export function draw(canvas: HTMLCanvasElement, cells: Cells, { cursor, area }: { cursor: At | null; area: Area | null }): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const [width, ratio] = [canvas.clientWidth, window.devicePixelRatio];
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  context.scale(ratio, ratio);
  const [w, h] = [(width - LEFT) / Math.max(cells.times.length, 1), (HEIGHT - BOTTOM) / Math.max(cells.bounds.length, 1)];
  context.fillStyle = colour('--heat');
  cells.counts.forEach((column, x) => {
    column.forEach((count, y) => {
      if (count <= 0) return;
      context.globalAlpha = depth(count, cells.most);
      context.fillRect(LEFT + x * w, HEIGHT - BOTTOM - (y + 1) * h, Math.ceil(w), Math.max(h - 1, 1));
    });
  });
  context.globalAlpha = 1;
  context.fillStyle = colour('--muted');
  context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  context.textAlign = 'right';
  const every = Math.ceil(cells.bounds.length / 8);
  cells.bounds.forEach((bound, y) => {
    if (y % every === 0) context.fillText(Number.isFinite(bound) ? show(bound, 's') : 'more', LEFT - 6, HEIGHT - BOTTOM - (y + 1) * h + 8);
  });
  context.textAlign = 'center';
  const [first, last] = [cells.times[0] ?? 0, cells.times.at(-1) ?? 1];
  const across = (last - first) / Math.max(Math.floor((width - LEFT) / 90), 1);
  const between = Math.max(stepOf({ from: 0, to: across }, 1), 60_000);
  for (let at = Math.ceil(first / between) * between; at < last; at += between) {
    const text = between >= 86_400_000 ? atShort(at).split(', ')[0] : atShort(at).split(', ').at(-1);
    context.fillText(text ?? '', LEFT + ((at - first) / cells.step) * w, HEIGHT - 6);
  }
  if (area) {
    const [left, right, low, high] = sides(area);
    context.lineWidth = 2;
    context.strokeStyle = colour('--accent');
    context.strokeRect(LEFT + left * w, HEIGHT - BOTTOM - (high + 1) * h, (right + 1 - left) * w, (high + 1 - low) * h);
  }
  if (!cursor) return;
  context.lineWidth = 1;
  context.strokeStyle = colour('--ink');
  context.strokeRect(LEFT + cursor[0] * w + 0.5, HEIGHT - BOTTOM - (cursor[1] + 1) * h + 0.5, w - 1, h - 1);
}

export function cellAt(event: MouseEvent, cells: Cells): At | null {
  const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
  const x = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT)) * cells.times.length);
  const y = Math.floor(((HEIGHT - BOTTOM - (event.clientY - box.top)) / (HEIGHT - BOTTOM)) * cells.bounds.length);
  return cells.counts[x]?.[y] === undefined ? null : [x, y];
}

export function told(at: At | null, cells: Cells): string {
  const time = at && cells.times[at[0]];
  if (!at || typeof time !== 'number') return '';
  const bound = cells.bounds[at[1]];
  return `${atClock(time)} · ${show(cells.bounds[at[1] - 1] ?? 0, 's')} to ${Number.isFinite(bound) ? show(bound, 's') : 'more'} · ${show(cells.counts[at[0]]?.[at[1]] ?? 0, '')} requests`;
}
