// What something was before: each revision with what it changed, and the way back to it.
import type { ComponentChildren, JSX } from 'preact';

export interface RevisionLine {
  revision: number;
  what: ComponentChildren;
  /** Who and when. */
  who: string;
  /** Nothing of it can be made the newest again, such as an end. */
  isFinal?: boolean;
}

/** Lines that are shown; the rest stays in the API. */
const SHOWN = 20;

export function RevisionList({ lines, now, onBack }: { lines: RevisionLine[]; now: number | null; onBack: (revision: number) => void }): JSX.Element {
  return (
    <ol class="revisions">
      {lines.slice(0, SHOWN).map(({ revision, what, who, isFinal }) => (
        <li key={revision}>
          <b>{revision}</b>
          <span>{what}</span>
          <span class="muted">{who}</span>
          {revision === now || isFinal ? <span class="muted">{revision === now ? 'now' : ''}</span> : <button type="button" class="quiet" aria-label={`Back to revision ${revision}`} onClick={() => onBack(revision)}>Back</button>}
        </li>
      ))}
    </ol>
  );
}
