// All rows of a trace in a strip of pixels.
import { colour } from '../../data/prefs.ts';
import type { Tree } from '../../data/tree.ts';

export const HEIGHT = 56;
/** More rows than these lie upon each other anyway; failed ones are always drawn. */
const DRAWN_MAX = 4000;
const COLOURS = 8;

export function draw(canvas: HTMLCanvasElement, tree: Tree, rows: Uint32Array): void {
  const context = canvas.getContext('2d');
  if (!context) return;
  const [width, ratio] = [canvas.clientWidth, window.devicePixelRatio];
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  context.scale(ratio, ratio);
  const inks = Array.from({ length: COLOURS }, (_, n) => colour(`--c${n + 1}`));
  const bad = colour('--critical');
  const high = Math.max(Math.min((HEIGHT - 4) / rows.length, 6), 1);
  const step = Math.max(rows.length / DRAWN_MAX, 1);
  const bar = (row: number, ink: string): void => {
    const p = rows[row]!;
    context.fillStyle = ink;
    context.fillRect((tree.start[p]! / tree.total) * width, 2 + (row / rows.length) * (HEIGHT - 4), Math.max((tree.duration[p]! / tree.total) * width, 1), high > 2 ? high - 1 : high);
  };
  for (let n = 0; n < rows.length; n += step) {
    const row = Math.floor(n);
    bar(row, inks[tree.service[rows[row]!]! % COLOURS] ?? bad);
  }
  for (let row = 0; row < rows.length; row += 1) if (tree.failed[rows[row]!]) bar(row, bad);
}
