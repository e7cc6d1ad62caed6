// Traced requests as diamonds over the lines of a chart.
import type uPlot from 'uplot';
import type { Point } from '../../data/exemplars.ts';
import { colour } from '../../data/prefs.ts';

/** How near to a point a click must be. */
const NEAR = 9;

/** Where a point stands, in CSS pixels of the plot; one above the scale stands at its top. */
function placeOf(u: uPlot, { at, value }: Point): { left: number; top: number } {
  return { left: u.valToPos(at / 1000, 'x'), top: Math.max(u.valToPos(value, 'y'), 3) };
}

export function drawPoints(u: uPlot, points: Point[]): void {
  const ratio = window.devicePixelRatio;
  u.ctx.fillStyle = colour('--c3');
  for (const point of points) {
    const { left, top } = placeOf(u, point);
    if (left < 0 || left * ratio > u.bbox.width) continue;
    const [x, y, size] = [u.bbox.left + left * ratio, u.bbox.top + top * ratio, 3.5 * ratio];
    u.ctx.beginPath();
    u.ctx.moveTo(x, y - size);
    u.ctx.lineTo(x + size, y);
    u.ctx.lineTo(x, y + size);
    u.ctx.lineTo(x - size, y);
    u.ctx.fill();
  }
}

/** The point that a click means, if any. */
export function pointAt(u: uPlot, points: Point[], event: MouseEvent): Point | undefined {
  const over = u.over.getBoundingClientRect();
  const away = (point: Point): number => Math.hypot(placeOf(u, point).left - event.clientX + over.left, placeOf(u, point).top - event.clientY + over.top);
  return points.filter((point) => away(point) < NEAR).sort((a, b) => away(a) - away(b))[0];
}
