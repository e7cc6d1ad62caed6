// The server's dry run of what is being written, a moment after the last key: what is wrong, and what would change.
import { type Signal, useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { ApiError, words } from './fetch.ts';
import { type Change, faultsOf } from './policy.ts';

const CHECK_AFTER_MS = 300;

export interface Checked {
  /** What is wrong, by field. */
  faults: Record<string, string>;
  /** A refusal that names no field. */
  error: ApiError | null;
  changes: Change[];
  /** The server has looked at what is there now. */
  isDone: boolean;
}

const CLEAN: Checked = { faults: {}, error: null, changes: [], isDone: true };

const known = (error: unknown): ApiError => (error instanceof ApiError ? error : new ApiError(0, words(error)));

/** A refusal that names fields, in people's words. */
export function plainly(error: unknown): ApiError {
  const refusal = known(error);
  const faults = Object.entries(faultsOf(refusal));
  return faults.length > 0 ? new ApiError(refusal.status, faults.map(([field, what]) => `${field} ${what}`).join('; ')) : refusal;
}

/** What `ask` says would change, anew when `text` does; what there is nothing to ask about is null. */
export function useChecked(text: string, ask: ((signal: AbortSignal) => Promise<Change[]>) | null): Signal<Checked> {
  const result = useSignal<Checked>({ ...CLEAN, isDone: false });
  useEffect(() => {
    if (!ask) {
      result.value = CLEAN;
      return;
    }
    result.value = { ...result.peek(), isDone: false };
    const abort = new AbortController();
    const timer = setTimeout(() => {
      ask(abort.signal)
        .then((changes) => {
          if (!abort.signal.aborted) result.value = { ...CLEAN, changes };
        })
        .catch((failure: unknown) => {
          if (abort.signal.aborted) return;
          const error = known(failure);
          const faults = faultsOf(error);
          result.value = { faults, error: Object.keys(faults).length > 0 ? null : error, changes: [], isDone: true };
        });
    }, CHECK_AFTER_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text]);
  return result;
}
