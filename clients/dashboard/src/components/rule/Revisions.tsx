// What the rule was before, what differs from now, and the way back.
import type { JSX } from 'preact';
import type { Revision, Rule, RuleFields } from '../../data/alerts.ts';
import { call, words } from '../../data/fetch.ts';
import { changed } from '../../data/rule.ts';
import { atFull } from '../../data/time.ts';
import { useGet } from '../../data/use.ts';
import { Empty, Loading, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { RevisionList } from '../RevisionList.tsx';
import { tell } from '../Toasts.tsx';

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
  const lines = revisions.map((one, index) => {
    const before = revisions[index + 1]?.rule;
    const what = one.deleted ? 'deleted' : before ? difference(before, one.rule) || 'nothing changed' : 'as it began';
    return { revision: one.revision, what, who: `${one.origin}, ${atFull(Date.parse(one.createdAt))}` };
  });
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
      <RevisionList lines={lines} now={rule.revision} onBack={(revision) => void revert(revision)} />
    </Panel>
  );
}
