// Data for components: asked for when the range changes, kept up to date while it ends now.
import { type ReadonlySignal, useComputed, useSignal, useSignalEffect } from '@preact/signals';
import { useEffect, useMemo } from 'preact/hooks';
import { ApiError, get, words } from './fetch.ts';
import { connections, type Items, itemsOf, state, subscribe } from './live.ts';
import { isLive, now, range, refresh } from './range.ts';

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  loading: boolean;
}

const IDLE = { data: null, error: null, loading: true };

/** Runs `load` when `key` changes or `when` does; what was there stays until the answer is. */
export function useLoad<T>(load: (signal: AbortSignal) => Promise<T>, key: string, when?: () => unknown): ReadonlySignal<Loaded<T>> & { again: () => void } {
  const result = useSignal<Loaded<T>>(IDLE);
  const wanted = useSignal(key);
  const turn = useSignal(0);
  if (wanted.peek() !== key) {
    result.value = IDLE;
    wanted.value = key;
  }
  useSignalEffect(() => {
    void [wanted.value, turn.value, when?.()];
    const abort = new AbortController();
    result.value = { ...result.peek(), loading: true };
    load(abort.signal)
      .then((data) => {
        if (!abort.signal.aborted) result.value = { data, error: null, loading: false };
      })
      .catch((error: unknown) => {
        if (abort.signal.aborted) return;
        const known = error instanceof ApiError ? error : new ApiError(0, words(error));
        result.value = { data: known.isMissing ? null : result.peek().data, error: known, loading: false };
      });
    return () => abort.abort();
  });
  return useMemo(() => Object.assign(result, { again: () => void (turn.value += 1) }), [result]);
}

/** `GET path`, anew when the range moves, after a reconnection, and each `every` ms. */
export function useGet<T>(path: string, every = 0): ReadonlySignal<Loaded<T>> & { again: () => void } {
  const loaded = useLoad<T>((signal) => get<T>(path, signal), path, () => [range.value, connections.value]);
  useEffect(() => {
    if (!every) return;
    const timer = setInterval(() => !document.hidden && loaded.again(), every);
    return () => clearInterval(timer);
  }, [path, every]);
  return loaded;
}

/** Asks again each `every` ms while the range ends now. */
export function useAgain(loaded: { again: () => void }, every: number): void {
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && isLive.peek() && loaded.again(), every);
    return () => clearInterval(timer);
  }, [loaded, every]);
}

/** The latest items of a topic. */
export function useTopic(topic: string): ReadonlySignal<Items | null | undefined> {
  useEffect(() => subscribe(topic, () => {}), [topic]);
  const name = useSignal(topic);
  name.value = topic;
  return useComputed(() => itemsOf(name.value).value);
}

/** Moves `now` on, and asks anew while no socket does it for us. */
export function startClock(): void {
  setInterval(() => {
    if (!document.hidden) now.value = Date.now();
  }, 1000);
  setInterval(() => {
    if (!document.hidden && state.peek() !== 'live') refresh();
  }, 15_000);
}
