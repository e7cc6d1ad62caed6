// Which policy is for a cache or a batcher, and which it runs.
import type { JSX } from 'preact';
import { candidates, isForWords, type Kind, type StoredPolicy } from '../../data/policy.ts';
import type { Running, Target } from '../../data/targets.ts';
import { href } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';

/** A cell: what it runs. */
export function RunningPolicy({ running }: { running: Running | null }): JSX.Element {
  if (!running) return <span class="muted">its code's</span>;
  const { id, revision, isMixed } = running;
  return <a href={href(`/policies/${encodeURIComponent(id)}`)} title={isMixed ? 'Some instances ran another in the last minutes' : ''}>{id}<small> {revision}{isMixed && ' and others'}</small></a>;
}

/** A line for one target. */
export function PolicyOf({ kind, target }: { kind: Kind; target: Target }): JSX.Element {
  const policies = useGet<StoredPolicy[]>('/api/policies', 30_000);
  const { service, name, running } = target;
  const meant = candidates(policies.value.data ?? [], kind, service, name);
  const [first, ...others] = meant;
  const link = (policy: StoredPolicy): JSX.Element => <a key={policy.id} href={href(`/policies/${encodeURIComponent(policy.id)}`)}>{policy.name}</a>;
  const fresh = `/policies/new?${new URLSearchParams({ kind, service, target: name }).toString()}`;
  const isBehind = running !== null && first !== undefined && (running.id !== first.id || running.revision !== first.revision || running.isMixed);
  return (
    <p class={`verdict ${isBehind ? 'warning' : running ? 'ok' : 'unknown'}`}>
      <i aria-hidden="true" />
      <b>{running ? <>runs {running.id}, revision {running.revision}{running.isMixed && ' and others'}</> : 'runs what is in its code'}</b>
      <span class="muted">
        {first ? <>for it: {link(first)}, revision {first.revision}, {isForWords(first)}{others.length > 0 && <>; then {others.slice(0, 2).map(link)}</>}</> : 'no policy is for it'}
      </span>
      <a class="button" href={href(first ? `/policies/${encodeURIComponent(first.id)}` : fresh)}>{first ? 'Edit the policy' : 'Make a policy for it'}</a>
    </p>
  );
}
