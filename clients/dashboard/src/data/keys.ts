// Keyboard shortcuts of every page.
import { signal } from '@preact/signals';
import { PLACES } from './nav.ts';
import { nextTheme, singleKeys } from './prefs.ts';
import { paused, refresh, shift, toggleCompare, zoomOut } from './range.ts';
import { go } from './url.ts';

export const paletteOpen = signal(false);
export const helpOpen = signal(false);

export const SHORTCUTS: [string, string][] = [
  ['⌘K or /', 'search'],
  ['?', 'this list'],
  ...PLACES.map((place): [string, string] => [`g ${place.key}`, place.title]),
  ['t ←, t →', 'earlier, later'],
  ['t z', 'zoom out'],
  ['t c', 'compare with before'],
  ['p', 'pause, go on'],
  ['r', 'look again'],
  ['j, k', 'next, previous row'],
  ['v', 'chart as a table'],
  ['← →', 'move the cursor of a chart'],
  ['↑ ↓ ← →', 'walk and fold a trace'],
  ['e', 'next failed span of a trace'],
  ['+, −, 0', 'zoom a trace, see all of it'],
  ['d', 'dark, light, system'],
];

let first = '';
let timer = 0;

function moveRow(by: 1 | -1): void {
  const links = [...document.querySelectorAll<HTMLElement>('main tbody tr a, main .rows a')].filter((link, index, all) => {
    const row = link.closest('tr, li');
    return all.findIndex((other) => other.closest('tr, li') === row) === index;
  });
  const at = links.findIndex((link) => link.closest('tr, li')?.contains(document.activeElement));
  links[Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

const SINGLE: Record<string, () => void> = {
  '?': () => (helpOpen.value = true),
  '/': () => (paletteOpen.value = true),
  p: () => (paused.value = !paused.value),
  r: refresh,
  j: () => moveRow(1),
  k: () => moveRow(-1),
  d: nextTheme,
};

const SECOND: Record<string, Record<string, () => void>> = {
  g: Object.fromEntries(PLACES.map((place) => [place.key, () => go(place.to)])),
  t: { ArrowLeft: () => shift(-1), ArrowRight: () => shift(1), z: zoomOut, c: toggleCompare },
};

export function handleKey(event: KeyboardEvent): void {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    paletteOpen.value = !paletteOpen.value;
    return;
  }
  const target = event.target as HTMLElement;
  const isTyping = target.isContentEditable || target.matches?.('input, textarea, select');
  if (isTyping || event.metaKey || event.ctrlKey || event.altKey || !singleKeys.value || paletteOpen.value || helpOpen.value) return;
  const action = first ? SECOND[first]?.[event.key] : SINGLE[event.key];
  const isFirst = !first && event.key in SECOND;
  clearTimeout(timer);
  first = isFirst ? event.key : '';
  if (isFirst) timer = window.setTimeout(() => (first = ''), 1200);
  if (!action) return;
  event.preventDefault();
  action();
}
