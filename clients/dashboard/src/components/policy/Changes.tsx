// What differs, field by field, as people call the fields.
import type { JSX } from 'preact';
import { sideOf, titleOf } from '../../data/policy-words.ts';
import type { Change } from '../../data/policy.ts';

export function Changes({ changes, label, clashes = [] }: { changes: Change[]; label: string; clashes?: string[] }): JSX.Element {
  return (
    <ul class="changes" aria-label={label}>
      {changes.map(({ field, before, after }) => (
        <li key={field}>
          <span title={field}>{titleOf(field)}</span>
          <span>
            <del>{sideOf(field, before)}</del> <span aria-hidden="true">→</span> <ins>{sideOf(field, after)}</ins>
            {clashes.includes(field) && <b class="bad"> both changed it</b>}
          </span>
        </li>
      ))}
    </ul>
  );
}
