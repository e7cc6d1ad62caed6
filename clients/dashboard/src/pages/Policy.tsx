// One policy; one that was deleted can come back from its history.
import type { JSX } from 'preact';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Editor } from '../components/policy/Editor.tsx';
import { PolicyHistory } from '../components/policy/PolicyHistory.tsx';
import { get } from '../data/fetch.ts';
import { policyPath } from '../data/policies.ts';
import type { PolicyRevision, StoredPolicy } from '../data/policy.ts';
import { href } from '../data/url.ts';
import { useLoad } from '../data/use.ts';

async function load(id: string, signal: AbortSignal): Promise<{ policy: StoredPolicy | null }> {
  return { policy: id === 'new' ? null : await get<StoredPolicy>(policyPath(id), signal) };
}

/** It is not there; perhaps it was. */
function Gone({ id, again }: { id: string; again: () => void }): JSX.Element {
  const past = useLoad((signal) => get<PolicyRevision[]>(policyPath(id, '/revisions'), signal), id);
  const { data, error } = past.value;
  if (!data && !error) return <Loading />;
  return (
    <>
      <Empty><p><b>{data ? `The policy ${id} was deleted.` : `There is no policy ${id}.`}</b></p><p><a href={href('/policies')}>Policies</a></p></Empty>
      {data && <PolicyHistory id={id} now={null} onReverted={again} />}
    </>
  );
}

export function PolicyPage({ id }: { id: string }): JSX.Element {
  const loaded = useLoad((signal) => load(id, signal), id);
  const { data, error } = loaded.value;
  return (
    <div class="page">
      {error?.isMissing && (error.message.startsWith('there is nothing') ? <Missing what="Policies" /> : <Gone id={id} again={loaded.again} />)}
      {error && !error.isMissing && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {data && <Editor stored={data.policy} key={id} />}
    </div>
  );
}
