// Every revision of a policy: who, when, why, what changed; and the way back, shown before it is gone.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { ApiError, get, words } from '../../data/fetch.ts';
import { policyPath, previewRevert, revert } from '../../data/policies.ts';
import type { Change, PolicyRevision, StoredPolicy } from '../../data/policy.ts';
import { atFull } from '../../data/time.ts';
import { useLoad } from '../../data/use.ts';
import { Dialog } from '../Dialog.tsx';
import { Loading, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { RevisionList } from '../RevisionList.tsx';
import { tell } from '../Toasts.tsx';
import { Because } from './Because.tsx';
import { Changes } from './Changes.tsx';

interface Props {
  id: string;
  /** The newest revision; null when the policy was deleted. */
  now: number | null;
  onReverted: (policy: StoredPolicy) => void;
}

function Revert({ id, now, revision, onClose, onReverted }: Props & { revision: number; onClose: () => void }): JSX.Element {
  const [changes, error, reason] = [useSignal<Change[] | null>(null), useSignal<ApiError | null>(null), useSignal(`as in revision ${revision}`)];
  const fail = (failure: unknown): void => void (error.value = failure instanceof ApiError ? failure : new ApiError(0, words(failure)));
  useEffect(() => {
    if (now === null) changes.value = [];
    else previewRevert(id, revision).then((found) => (changes.value = found), fail);
  }, []);
  const press = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      onReverted(await revert(id, revision, now, reason.value));
      tell(`The policy is as it was in revision ${revision}.`);
      onClose();
    } catch (failure) {
      fail(failure);
    }
  };
  return (
    <Dialog title={`Back to revision ${revision}`} onClose={onClose}>
      <form class="fields" onSubmit={(event) => void press(event)}>
        {!changes.value && !error.value && <Loading />}
        {changes.value?.length === 0 && <p class="whole muted">{now === null ? 'The policy is there again, as it was then.' : 'Nothing differs from what there is now.'}</p>}
        {changes.value && changes.value.length > 0 && <Changes changes={changes.value} label="What changes" />}
        <Because reason={reason} />
        {error.value && <Problem error={error.value} />}
        <p class="buttons whole">
          <button type="submit" class="primary" disabled={!changes.value}>Make it the newest</button>
          <button type="button" onClick={onClose}>Cancel</button>
        </p>
      </form>
    </Dialog>
  );
}

function What({ one }: { one: PolicyRevision }): JSX.Element {
  const isFirst = one.revision === 1;
  return (
    <>
      {one.deleted ? 'deleted' : isFirst ? 'as it began' : one.changes.length > 0 ? <Changes changes={one.changes} label={`What revision ${one.revision} changed`} /> : 'nothing changed'}
      {one.reason && <em>“{one.reason}”</em>}
    </>
  );
}

export function PolicyHistory({ id, now, onReverted }: Props): JSX.Element {
  const loaded = useLoad((signal) => get<PolicyRevision[]>(policyPath(id, '/revisions'), signal), `${id} ${now}`);
  const chosen = useSignal<number | null>(null);
  const { data, error } = loaded.value;
  const lines = (data ?? []).map((one) => ({ revision: one.revision, what: <What one={one} />, who: `${one.author || 'nobody named'}, ${atFull(Date.parse(one.createdAt))}`, isFinal: one.deleted }));
  return (
    <Panel title="History" note={data?.length ?? ''}>
      {error && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      <RevisionList lines={lines} now={now} onBack={(revision) => (chosen.value = revision)} />
      {chosen.value !== null && <Revert id={id} now={now} revision={chosen.value} onReverted={onReverted} onClose={() => (chosen.value = null)} />}
    </Panel>
  );
}
