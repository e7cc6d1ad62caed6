// What is shown where there is nothing: what it means, and what to do.
import type { ComponentChildren, JSX } from 'preact';
import type { ApiError } from '../data/fetch.ts';

export function Empty({ children }: { children: ComponentChildren }): JSX.Element {
  return <div class="empty">{children}</div>;
}

/** An answer that could not be had. */
export function Problem({ error, again }: { error: ApiError; again?: () => void }): JSX.Element {
  return (
    <div class="problem" role="alert">
      <span>{error.field && !error.message.startsWith(error.field) ? `${error.field}: ` : ''}{error.message}</span>
      {again && <button type="button" onClick={again}>Try again</button>}
    </div>
  );
}

/** A feature that this server does not have. */
export function Missing({ what }: { what: string }): JSX.Element {
  return (
    <Empty>
      <p><b>{what} are not available on this server.</b></p>
      <p>It answers 404 for them: this build does not have the feature, or an older server answers here.</p>
    </Empty>
  );
}

export function Loading(): JSX.Element {
  return <p class="muted loading">Loading…</p>;
}
