// What a person prefers on this machine: theme and shortcuts. Nothing that a link should carry.
import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

function stored(name: string): string | null {
  try {
    return localStorage.getItem(`fastbreak.${name}`);
  } catch {
    return null;
  }
}

function keep(name: string, value: string): void {
  try {
    localStorage.setItem(`fastbreak.${name}`, value);
  } catch {
    // A browser that keeps nothing still shows everything.
  }
}

const THEMES: Theme[] = ['system', 'light', 'dark'];

export const theme = signal<Theme>(THEMES.find((name) => name === stored('theme')) ?? 'system');
/** Shortcuts of one key can be turned off (WCAG 2.1.4). */
export const singleKeys = signal(stored('singleKeys') !== 'off');
/** Who acknowledges and silences. */
export const person = signal(stored('person') ?? '');
/** Grows when colours change, so that canvases are drawn anew. */
export const colours = signal(0);

effect(() => {
  document.documentElement.style.colorScheme = theme.value === 'system' ? 'light dark' : theme.value;
  keep('theme', theme.value);
  colours.value = colours.peek() + 1;
});
effect(() => keep('singleKeys', singleKeys.value ? 'on' : 'off'));
effect(() => keep('person', person.value));

window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  colours.value += 1;
});

const probe = document.createElement('i');
probe.hidden = true;

/** The colour that a custom property has now, as canvases need it. */
export function colour(property: string): string {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = property.startsWith('--') ? `var(${property})` : property;
  return getComputedStyle(probe).color;
}

export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? 'system';
}
