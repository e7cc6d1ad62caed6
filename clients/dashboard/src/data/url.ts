// The address is the state: every view can be linked to, and back and forward work.
import { batch, computed, signal } from '@preact/signals';

export const path = signal(window.location.pathname);
export const params = signal(new URLSearchParams(window.location.search));

/** Parameters that stay when another page is opened. */
const KEPT = ['from', 'to', 'compare'];

function read(): void {
  batch(() => {
    path.value = window.location.pathname;
    params.value = new URLSearchParams(window.location.search);
  });
}

window.addEventListener('popstate', read);

/** `to` with the time range of this page. */
export function href(to: string): string {
  const [pathname = '/', search = ''] = to.split('?');
  const next = new URLSearchParams(search);
  for (const name of KEPT) {
    const value = params.value.get(name);
    if (value !== null && !next.has(name)) next.set(name, value);
  }
  const text = next.toString();
  return text ? `${pathname}?${text}` : pathname;
}

export function go(to: string, replace = false): void {
  const target = href(to);
  if (target === window.location.pathname + window.location.search) return;
  if (replace) window.history.replaceState(null, '', target);
  else window.history.pushState(null, '', target);
  read();
  if (!replace) document.getElementById('main')?.focus({ preventScroll: true });
}

/** Changes parameters of this page; null takes one away. */
export function set(changes: Record<string, string | null>, replace = false): void {
  const next = new URLSearchParams(params.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  const target = path.value + (text ? `?${text}` : '');
  if (target === window.location.pathname + window.location.search) return;
  if (replace) window.history.replaceState(null, '', target);
  else window.history.pushState(null, '', target);
  read();
}

export function param(name: string): string {
  return params.value.get(name) ?? '';
}

/** Links of this page are followed without loading it anew. */
export function followLinks(event: MouseEvent): void {
  const link = (event.target as Element | null)?.closest?.('a');
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute('download')) return;
  const url = new URL(link.href);
  const served = /^\/(api|prometheus|metrics|health|livez|readyz)\b/.test(url.pathname);
  if (url.origin !== window.location.origin || served || url.hash) return;
  event.preventDefault();
  go(url.pathname + url.search);
}

export const segments = computed(() => path.value.split('/').filter(Boolean).map(decodeURIComponent));
