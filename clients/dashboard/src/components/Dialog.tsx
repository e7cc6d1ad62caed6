// A native dialog: focus stays in it, Escape closes it.
import type { ComponentChildren, JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

interface Props {
  title: string;
  kind?: string;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, kind = '', onClose, children }: Props): JSX.Element {
  const box = useRef<HTMLDialogElement>(null);
  // Before anything is typed: letters must not get lost to the shortcuts.
  useLayoutEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    box.current?.showModal();
    return () => before?.focus?.();
  }, []);
  const outside = (event: MouseEvent): void => {
    if (event.target === box.current) onClose();
  };
  return (
    <dialog ref={box} class={kind} aria-label={title} onClose={onClose} onClick={outside}>
      <div class="inside">
        {kind !== 'palette' && (
          <header>
            <h2>{title}</h2>
            <button type="button" class="quiet" onClick={onClose}>Close</button>
          </header>
        )}
        {children}
      </div>
    </dialog>
  );
}
