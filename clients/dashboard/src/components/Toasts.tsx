// What was done, said once.
import { signal } from '@preact/signals';
import type { JSX } from 'preact';

interface Toast {
  id: number;
  text: string;
  isError: boolean;
}

const toasts = signal<Toast[]>([]);
let next = 0;

export function tell(text: string, isError = false): void {
  const toast = { id: (next += 1), text, isError };
  toasts.value = [...toasts.value.slice(-2), toast];
  setTimeout(() => (toasts.value = toasts.value.filter(({ id }) => id !== toast.id)), isError ? 12_000 : 5000);
}

export function Toasts(): JSX.Element {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <p key={toast.id} class={toast.isError ? 'error' : ''}>{toast.text}</p>
      ))}
    </div>
  );
}
