// Numbers with their units, short enough for a table and a chart's axis.
export interface Shown {
  text: string;
  unit: string;
}

const WORDS: Record<string, string> = {
  '1': '',
  '{request}': 'requests',
  '{connection}': 'connections',
  '{thread}': '',
  '1/s': '/s',
  '1/min': '/min',
  'By/s': 'B/s',
};

const PREFIXES: [number, string][] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** Three digits that count. */
export function digits(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1).replace(/\.0$/, '');
  if (size >= 1) return value.toFixed(2).replace(/\.?0+$/, '');
  if (size >= 0.001) return String(Number(value.toPrecision(2)));
  return value.toExponential(0);
}

function prefixed(value: number, unit: string): Shown {
  const size = Math.abs(value);
  const [factor, letter] = PREFIXES.find(([factor]) => size >= factor * 0.9995) ?? [1, ''];
  return { text: digits(value / factor) + (unit ? '' : letter), unit: unit ? letter + unit : '' };
}

function bytes(value: number, unit: string): Shown {
  const sizes = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let step = 0;
  let size = value;
  while (Math.abs(size) >= 1024 && step < sizes.length - 1) {
    size /= 1024;
    step += 1;
  }
  return { text: digits(size), unit: (sizes[step] ?? 'B') + unit };
}

function duration(seconds: number): Shown {
  const size = Math.abs(seconds);
  if (size === 0) return { text: '0', unit: 'ms' };
  if (size < 0.001) return { text: digits(seconds * 1e6), unit: 'µs' };
  if (size < 1) return { text: digits(seconds * 1e3), unit: 'ms' };
  if (size < 120) return { text: digits(seconds), unit: 's' };
  return size < 7200 ? { text: digits(seconds / 60), unit: 'min' } : { text: digits(seconds / 3600), unit: 'h' };
}

export function shown(value: number | null | undefined, unit = ''): Shown {
  if (value === null || value === undefined || !Number.isFinite(value)) return { text: '–', unit: '' };
  switch (unit) {
    case 's':
      return duration(value);
    case 'ms':
      return duration(value / 1000);
    case 'By':
      return bytes(value, '');
    case 'By/s':
      return bytes(value, '/s');
    case '%':
      return { text: digits(value), unit: '%' };
    case '1/s':
    case '1/min': {
      const { text, unit: letter } = prefixed(value, '');
      return { text, unit: `${letter}${WORDS[unit] ?? ''}` };
    }
    default:
      return { text: prefixed(value, '').text, unit: WORDS[unit] ?? unit.replace(/[{}]/g, '') };
  }
}

export function show(value: number | null | undefined, unit = ''): string {
  const { text, unit: word } = shown(value, unit);
  if (!word) return text;
  return word === '%' || word.startsWith('/') ? text + word : `${text} ${word}`;
}

export function count(value: number): string {
  return new Intl.NumberFormat().format(value);
}
