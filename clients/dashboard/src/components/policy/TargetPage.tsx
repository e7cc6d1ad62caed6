// All caches or all batchers, or one of them with its policy; what to do where there is none.
import type { JSX } from 'preact';
import type { Kind } from '../../data/policy.ts';
import { range } from '../../data/range.ts';
import { type Scope, type Target, targetOf, targets } from '../../data/targets.ts';
import { useAgain, useLoad } from '../../data/use.ts';
import { Loading, Problem } from '../Empty.tsx';
import { PolicyOf } from './PolicyOf.tsx';
import { type Figure, TargetTable } from './TargetTable.tsx';

interface Props {
  kind: Kind;
  title: string;
  noun: string;
  path: string;
  /** The label that names one. */
  label: string;
  /** A row's figures, each summed by service and label. */
  queries: Record<string, string>;
  figures: Figure[];
  nothing: JSX.Element;
  charts: (scope: Scope, chosen: Target | null) => JSX.Element;
}

const EVERY_MS = 10_000;

export function TargetPage({ kind, title, noun, path, label, queries, figures, nothing, charts }: Props): JSX.Element {
  const loaded = useLoad((signal) => targets(label, queries, signal), path, () => range.value);
  useAgain(loaded, EVERY_MS);
  const { data, error } = loaded.value;
  const scope = targetOf();
  if (!data) return <div class="page">{error ? <Problem error={error} again={loaded.again} /> : <Loading />}</div>;
  if (data.length === 0 && !scope.name) return nothing;
  const chosen = data.find(({ service, name }) => service === scope.service && name === scope.name) ?? null;
  return (
    <div class="page">
      {error && <Problem error={error} again={loaded.again} />}
      <TargetTable title={title} noun={noun} path={path} figures={figures} found={data} />
      {scope.name && <h2 class="section-title">{scope.name} of {scope.service}</h2>}
      {scope.name && !chosen && <p class="muted">It reports nothing now. Charts show what it did before, in the range above.</p>}
      {chosen && <PolicyOf kind={kind} target={chosen} key={`${chosen.service} ${chosen.name}`} />}
      {charts(scope, chosen)}
    </div>
  );
}
