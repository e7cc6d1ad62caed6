// uPlot's options in the house's look.
import type uPlot from 'uplot';
import { show } from '../../data/format.ts';
import { colour } from '../../data/prefs.ts';
import { zoomTo } from '../../data/range.ts';
import type { Point } from '../../data/exemplars.ts';
import type { Line } from '../../data/series.ts';
import { drawPoints } from './points.ts';

/** A span of time that is shaded, such as an alert that fired. */
export interface Band {
  from: number;
  to: number;
  colour: string;
}

export interface Look {
  unit: string;
  height: number;
  width: number;
  area: boolean;
  /** The least top of the scale. */
  top?: number;
  threshold?: () => number | null;
  bands?: () => Band[];
  /** Requests that were traced. */
  points?: () => Point[];
}

/** Steps between ticks of bytes. */
const POWERS = Array.from({ length: 50 }, (_, n) => 2 ** n);
const COLOURS = 8;
const DASHES = [[], [], [], [], [6, 3], [6, 3], [2, 3], [2, 3]];

export function colourOf(line: Line, index: number): string {
  return line.color ?? `--c${(index % COLOURS) + 1}`;
}

function series(line: Line, index: number, area: boolean): uPlot.Series {
  const ink = colour(line.before ? '--faint' : colourOf(line, index));
  const dash = line.before ? [4, 4] : line.dash ? [6, 3] : (DASHES[index % DASHES.length] ?? []);
  const fill = area && !line.before ? { fill: ink.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.12)') } : {};
  return { label: line.name, stroke: ink, width: 1.5, dash, points: { show: false }, ...fill };
}

/** Hours and minutes; the day where one begins, seconds where steps are shorter than a minute. */
function tickTimes(ticks: number[], step: number): string[] {
  const two = (n: number): string => String(n).padStart(2, '0');
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    const isDay = at.getHours() + at.getMinutes() + at.getSeconds() === 0;
    if (isDay) return at.toLocaleDateString(undefined, { month: 'short', day: 'numeric' });
    return `${two(at.getHours())}:${two(at.getMinutes())}${step < 60 ? `:${two(at.getSeconds())}` : ''}`;
  });
}

function axes(look: Look): uPlot.Axis[] {
  const [ink, grid] = [colour('--muted'), colour('--grid')];
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const common = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  // A unit in words would not fit beside each tick; the legend has it.
  const unit = look.unit.startsWith('{') ? '' : look.unit;
  const values = (_: uPlot, ticks: number[]): string[] => ticks.map((tick) => show(tick, unit));
  return [
    { ...common, size: 24, gap: 4, space: 72, values: (_, ticks, __, ___, step) => tickTimes(ticks, step) },
    { ...common, size: 60, gap: 6, space: 30, values, ...(look.unit.startsWith('By') ? { incrs: POWERS } : {}) },
  ];
}

function shade(u: uPlot, bands: Band[]): void {
  const { left, top, width, height } = u.bbox;
  for (const band of bands) {
    const from = Math.max(left, u.valToPos(band.from / 1000, 'x', true));
    const to = Math.min(left + width, u.valToPos(band.to / 1000, 'x', true));
    u.ctx.fillStyle = colour(band.colour);
    if (to > from) u.ctx.fillRect(from, top, Math.max(to - from, 2), height);
  }
}

function rule(u: uPlot, value: number | null): void {
  if (value === null || !Number.isFinite(value)) return;
  const y = u.valToPos(value, 'y', true);
  const { left, top, width, height } = u.bbox;
  if (y < top || y > top + height) return;
  u.ctx.save();
  u.ctx.strokeStyle = colour('--critical');
  u.ctx.lineWidth = window.devicePixelRatio;
  u.ctx.setLineDash([6 * window.devicePixelRatio, 4 * window.devicePixelRatio]);
  u.ctx.beginPath();
  u.ctx.moveTo(left, y);
  u.ctx.lineTo(left + width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

export function options(lines: Line[], look: Look, onCursor: (index: number | null) => void): uPlot.Options {
  return {
    width: look.width,
    height: look.height,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    series: [{}, ...lines.map((line, index) => series(line, index, look.area))],
    axes: axes(look),
    scales: {
      x: { time: true },
      y: { range: (_, least, most) => scale(least, most, look) },
    },
    cursor: {
      sync: { key: 'fastbreak', setSeries: false },
      drag: { x: true, y: false, setScale: false },
      points: { size: 6 },
      y: false,
    },
    hooks: {
      drawClear: [(u) => shade(u, look.bands?.() ?? [])],
      draw: [(u) => rule(u, look.threshold?.() ?? null), (u) => drawPoints(u, look.points?.() ?? [])],
      setCursor: [(u) => onCursor(u.cursor.idx ?? null)],
      setSelect: [
        (u) => {
          const { left, width } = u.select;
          if (width > 4) zoomTo(u.posToVal(left, 'x') * 1000, u.posToVal(left + width, 'x') * 1000);
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
    },
  };
}

/** From zero, with room above, and with the threshold in sight. */
function scale(least: number | null, most: number | null, look: Look): [number, number] {
  const threshold = look.threshold?.() ?? null;
  const top = Math.max(most ?? 0, look.top ?? 0, threshold ?? 0);
  return [Math.min(0, least ?? 0), top > 0 ? top * 1.1 : 1];
}
