// A line to copy into a shell.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }): JSX.Element {
  const isDone = useSignal(false);
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text).catch(() => undefined);
    isDone.value = true;
    setTimeout(() => (isDone.value = false), 1500);
  };
  return (
    <div class="copy">
      <pre tabIndex={0}>{text}</pre>
      <button type="button" class="quiet" aria-label={label} onClick={copy}>{isDone.value ? 'Copied' : 'Copy'}</button>
    </div>
  );
}
