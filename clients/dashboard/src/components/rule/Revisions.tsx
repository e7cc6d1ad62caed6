// What the rule was before, what differs from now, and the way back.
import type { JSX } from 'preact';
import type { Revision, Rule, RuleFields } from '../../data/alerts.ts';
import { call, words } from '../../data/fetch.ts';
import { changed } from '../../data/rule.ts';
import { atFull } from '../../data/time.ts';
import { useGet } from '../../data/use.ts';
import { Empty, Loading, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { tell } from '../Toasts.tsx';

const SHOWN = 20;

/** `threshold 300 → 250` of each field that differs. */
function difference(before: RuleFields, after: RuleFields): string {
  const text = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value ?? 'unset'));
  return changed(before, after).map((name) => `${name} ${text(before[name])} → ${text(after[name])}`).join(', ');
}

export function Revisions({ rule, etag, again }: { rule: Rule; etag: string | null; again: () => void }): JSX.Element {
  const path = `/api/alerts/rules/${encodeURIComponent(rule.id)}`;
  const loaded = useGet<Revision[]>(`${path}/revisions`);
  const { data, error } = loaded.value;
  const revisions = [...(data ?? [])].sort((a, b) => b.revision - a.revision);
  const revert = async (revision: number): Promise<void> => {
    try {
      await call('POST', `${path}/revert`, { body: { revision }, etag });
      tell(`The rule is as it was in revision ${revision}.`);
      again();
    } catch (failure) {
      tell(`Not reverted: ${words(failure)}`, true);
    }
  };
  if (error?.isMissing) return <></>;
  return (
    <Panel title="Revisions" note={data ? data.length : ''}>
      {error && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {data?.length === 0 && <Empty>It was never changed.</Empty>}
      <ol class="revisions">
        {revisions.slice(0, SHOWN).map((one, index) => {
          const before = revisions[index + 1]?.rule;
          const what = one.deleted ? 'deleted' : before ? difference(before, one.rule) || 'nothing changed' : 'as it began';
          return (
            <li key={one.revision}>
              <b>{one.revision}</b>
              <span>{what}</span>
              <span class="muted">{one.origin}, {atFull(Date.parse(one.createdAt))}</span>
              {one.revision === rule.revision ? <span class="muted">now</span> : <button type="button" class="quiet" aria-label={`Back to revision ${one.revision}`} onClick={() => void revert(one.revision)}>Back to it</button>}
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}
