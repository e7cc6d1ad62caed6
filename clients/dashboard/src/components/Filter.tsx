// Narrows a list; kept in the address.
import type { JSX } from 'preact';
import { param, set } from '../data/url.ts';

export function Filter({ label, name = 'q' }: { label: string; name?: string }): JSX.Element {
  return (
    <input type="search" class="filter" aria-label={label} placeholder={label} value={param(name)} spellcheck={false}
      onInput={(event) => set({ [name]: event.currentTarget.value }, true)} />
  );
}
