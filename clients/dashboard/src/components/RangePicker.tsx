// Which time is looked at.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { fromText, range, refresh, setRange, shift, toText, zoomOut } from '../data/range.ts';
import { atShort, isRelative, parseTime, span } from '../data/time.ts';
import { Icon } from './Icon.tsx';

const QUICK: [string, string][] = [
  ['15 min', 'now-15m'],
  ['1 h', 'now-1h'],
  ['3 h', 'now-3h'],
  ['6 h', 'now-6h'],
  ['12 h', 'now-12h'],
  ['24 h', 'now-24h'],
  ['2 d', 'now-2d'],
  ['7 d', 'now-7d'],
  ['30 d', 'now-30d'],
];

function label(): string {
  const [from, to] = [fromText.value, toText.value];
  if (to === 'now' && isRelative(from)) return `Last ${QUICK.find(([, value]) => value === from)?.[0] ?? span(Date.now() - (parseTime(from, Date.now()) ?? 0))}`;
  return `${atShort(range.value.from)} – ${to === 'now' ? 'now' : atShort(range.value.to)}`;
}

function Custom({ onDone }: { onDone: () => void }): JSX.Element {
  const from = useSignal(fromText.value);
  const to = useSignal(toText.value);
  const error = useSignal('');
  const apply = (event: Event): void => {
    event.preventDefault();
    const now = Date.now();
    const [start, end] = [parseTime(from.value.trim(), now), parseTime(to.value.trim(), now)];
    if (start === null || end === null) error.value = 'Write now-6h, or 2026-05-01T12:00:00Z.';
    else if (start >= end) error.value = 'From must be before to.';
    else {
      setRange(from.value.trim(), to.value.trim());
      onDone();
    }
  };
  return (
    <form class="custom" onSubmit={apply}>
      <label>From<input value={from.value} spellcheck={false} autocomplete="off" onInput={(e) => (from.value = e.currentTarget.value)} /></label>
      <label>To<input value={to.value} spellcheck={false} autocomplete="off" onInput={(e) => (to.value = e.currentTarget.value)} /></label>
      {error.value && <p class="error" role="alert">{error.value}</p>}
      <button type="submit" class="primary">Show</button>
    </form>
  );
}

export function RangePicker(): JSX.Element {
  const isOpen = useSignal(false);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = (): void => {
    isOpen.value = false;
    button.current?.focus();
  };
  useEffect(() => {
    if (!isOpen.value) return;
    const away = (event: MouseEvent): void => {
      if (!box.current?.contains(event.target as Node)) isOpen.value = false;
    };
    document.addEventListener('mousedown', away);
    return () => document.removeEventListener('mousedown', away);
  }, [isOpen.value]);
  const pick = (from: string): void => {
    setRange(from, 'now');
    refresh();
    close();
  };
  return (
    <div class="range" ref={box} onKeyDown={(event) => event.key === 'Escape' && isOpen.value && close()}>
      <button type="button" class="icon-button step" aria-label="Earlier" title="Earlier (T ←)" onClick={() => shift(-1)}>
        <Icon path="M10 3L5 8l5 5" />
      </button>
      <button type="button" ref={button} class="range-button" aria-expanded={isOpen.value} aria-haspopup="dialog" onClick={() => (isOpen.value = !isOpen.value)}>
        {label()}
      </button>
      <button type="button" class="icon-button step" aria-label="Later" title="Later (T →)" disabled={toText.value === 'now'} onClick={() => shift(1)}>
        <Icon path="M6 3l5 5-5 5" />
      </button>
      {isOpen.value && (
        <div class="pop" role="dialog" aria-label="Time range">
          <div class="quick">
            {QUICK.map(([name, from]) => (
              <button type="button" key={from} aria-pressed={fromText.value === from && toText.value === 'now'} onClick={() => pick(from)}>
                {name}
              </button>
            ))}
          </div>
          <Custom onDone={close} />
          <button type="button" class="quiet" onClick={zoomOut}>Zoom out (T Z)</button>
        </div>
      )}
    </div>
  );
}
