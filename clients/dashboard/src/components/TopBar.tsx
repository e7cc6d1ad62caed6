// Title, search, time range, live state, theme.
import type { JSX } from 'preact';
import { helpOpen, paletteOpen } from '../data/keys.ts';
import { state } from '../data/live.ts';
import { nextTheme, theme } from '../data/prefs.ts';
import { compares, isLive, paused, refresh, toggleCompare, toText } from '../data/range.ts';
import { Icon } from './Icon.tsx';
import { RangePicker } from './RangePicker.tsx';

const THEME_ICONS = { system: 'M2 3h12v8H2zM6 14h4M8 11v3', light: 'M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6M8 1v1M8 14v1M1 8h1M14 8h1M3 3l.7.7M12.3 12.3l.7.7M13 3l-.7.7M3.7 12.3l-.7.7', dark: 'M13 9.5A5.5 5.5 0 1 1 6.5 3 4.5 4.5 0 0 0 13 9.5z' };

function Live(): JSX.Element {
  const isPast = toText.value !== 'now';
  const toggle = (): void => {
    paused.value = !paused.value;
    if (!paused.value) refresh();
  };
  const word = isPast ? 'past' : paused.value ? 'paused' : state.value === 'live' ? 'live' : state.value === 'offline' ? 'reconnecting' : 'connecting';
  return (
    <button type="button" class={`live ${word}`} disabled={isPast} aria-pressed={paused.value}
      title={isPast ? 'The range ends in the past' : isLive.value ? 'Pause (P)' : 'Go on (P)'} onClick={toggle}>
      <i aria-hidden="true" />
      <span role="status">{word}</span>
    </button>
  );
}

export function TopBar({ title, isOpen, onMenu }: { title: string; isOpen: boolean; onMenu: () => void }): JSX.Element {
  return (
    <header class="top">
      <button type="button" class="menu icon-button" aria-label="Navigation" aria-expanded={isOpen} aria-controls="side" onClick={onMenu}>
        <Icon path="M2 4h12M2 8h12M2 12h12" />
      </button>
      <h1>{title}</h1>
      <button type="button" class="find" onClick={() => (paletteOpen.value = true)}>
        <Icon path="M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.5 10.5L14 14" />
        <span>Search</span>
        <kbd>⌘K</kbd>
      </button>
      <span class="spring" />
      <Live />
      <button type="button" class="quiet compare" aria-pressed={compares.value} title="Compare with the same span before" onClick={toggleCompare}>
        Compare
      </button>
      <RangePicker />
      <button type="button" class="icon-button theme" aria-label={`Theme: ${theme.value}`} title={`Theme: ${theme.value}`} onClick={nextTheme}>
        <Icon path={THEME_ICONS[theme.value]} />
      </button>
      <button type="button" class="icon-button help" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={() => (helpOpen.value = true)}>
        <Icon path="M6 6a2 2 0 1 1 2.5 2c-.4.2-.5.5-.5 1M8 11.5h.01M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13" />
      </button>
    </header>
  );
}
