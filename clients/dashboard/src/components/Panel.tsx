// A titled box.
import type { ComponentChildren, JSX } from 'preact';

interface Props {
  title: string;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  busy?: boolean;
  wide?: boolean;
  children: ComponentChildren;
  onKeyDown?: (event: KeyboardEvent) => void;
}

export function Panel({ title, note, actions, busy = false, wide = false, children, onKeyDown }: Props): JSX.Element {
  const handler = onKeyDown ? { onKeyDown } : {};
  return (
    <section class={`panel${wide ? ' wide' : ''}`} aria-label={title} aria-busy={busy} {...handler}>
      <header>
        <h2>{title}</h2>
        {note && <span class="note">{note}</span>}
        <span class="actions">{actions}</span>
      </header>
      {children}
    </section>
  );
}
