// The policies: how caches and batchers of services behave, whom each is for, and who said so.
import type { JSX } from 'preact';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Filter } from '../components/Filter.tsx';
import { Panel } from '../components/Panel.tsx';
import { type Column, Table } from '../components/Table.tsx';
import { tell } from '../components/Toasts.tsx';
import { words } from '../data/fetch.ts';
import { turn } from '../data/policies.ts';
import { isForWords, kindOf, type StoredPolicy } from '../data/policy.ts';
import { now } from '../data/range.ts';
import { ago } from '../data/time.ts';
import { href, param } from '../data/url.ts';
import { useGet } from '../data/use.ts';

function columns(toggle: (policy: StoredPolicy) => void): Column<StoredPolicy>[] {
  return [
    { name: 'name', title: 'Policy', by: (policy) => policy.name, cell: (policy) => <a href={href(`/policies/${encodeURIComponent(policy.id)}`)}>{policy.name}</a> },
    { name: 'kind', title: 'Of a', by: kindOf, cell: (policy) => (kindOf(policy) === 'batch' ? 'batcher' : 'cache') },
    { name: 'for', title: 'For', by: isForWords, cell: (policy) => <span class="clip" title={isForWords(policy)}>{isForWords(policy)}</span>, wide: true },
    { name: 'revision', title: 'Revision', number: true, by: (policy) => policy.revision, cell: (policy) => policy.revision },
    { name: 'who', title: 'By', by: (policy) => policy.author, cell: (policy) => policy.author || <span class="muted">nobody named</span>, wide: true },
    { name: 'when', title: 'Changed', number: true, by: (policy) => policy.updatedAt, cell: (policy) => <span title={policy.reason}>{ago(Date.parse(policy.updatedAt), now.value)}</span>, wide: true },
    { name: 'enabled', title: 'On', cell: (policy) => <input type="checkbox" role="switch" aria-label={`${policy.name} is on`} checked={policy.enabled !== false} onChange={() => toggle(policy)} /> },
  ];
}

function Nothing(): JSX.Element {
  return (
    <Empty>
      <p><b>There is no policy yet.</b></p>
      <p>A policy says how caches and batchers of services behave: how long entries live, how many items go into a call. Instances that watch this server obey it within a second; without one they do what is in their code. What they do is on <a href={href('/cache')}>Cache</a> and <a href={href('/batch')}>Batching</a>.</p>
    </Empty>
  );
}

export function PoliciesPage(): JSX.Element {
  const policies = useGet<StoredPolicy[]>('/api/policies', 15_000);
  const { data, error } = policies.value;
  const wanted = param('q').toLowerCase();
  const shown = (data ?? []).filter((policy) => `${policy.name} ${policy.id} ${isForWords(policy)}`.toLowerCase().includes(wanted));
  const toggle = async (policy: StoredPolicy): Promise<void> => {
    await turn(policy).catch((failure: unknown) => tell(`Not changed: ${words(failure)}`, true));
    policies.again();
  };
  return (
    <div class="page">
      {error?.isMissing ? <Missing what="Policies" /> : error && <Problem error={error} again={policies.again} />}
      {!data && !error && <Loading />}
      {data && (
        <Panel title="Policies" note={data.length > 0 ? `${data.filter((policy) => policy.enabled !== false).length} of ${data.length} on` : ''} wide
          actions={<>{data.length > 0 && <Filter label="Filter policies" />}<a class="button primary" href={href('/policies/new')}>New policy</a></>}>
          {shown.length > 0 ? <Table name="policies" label="Policies" columns={columns((policy) => void toggle(policy))} rows={shown} id={(policy) => policy.id} sort="name" /> : wanted ? <Empty>No policy is called like “{wanted}”.</Empty> : <Nothing />}
        </Panel>
      )}
    </div>
  );
}
