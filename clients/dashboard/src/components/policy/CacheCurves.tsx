// The miss-ratio curves of one key space, by life and by size, around what it has now.
import type { JSX } from 'preact';
import { CACHE } from '../../data/caches.ts';
import { CURVE_LABELS, curvePoints } from '../../data/curve.ts';
import { get } from '../../data/fetch.ts';
import { count } from '../../data/format.ts';
import { policyPath } from '../../data/policies.ts';
import type { StoredPolicy } from '../../data/policy.ts';
import { queryNow } from '../../data/query.ts';
import { range } from '../../data/range.ts';
import { type Running, type Scope, selector } from '../../data/targets.ts';
import { parseDuration } from '../../data/time.ts';
import { useAgain, useLoad } from '../../data/use.ts';
import { Empty } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { CurvePanel } from './CurvePanel.tsx';

/** The life in memory that a policy gives when it says none. */
const USUAL_SECONDS = 60;
const EVERY_MS = 15_000;

/** The life in force, in seconds; null when it is that of the code, or of a revision that is not the newest. */
async function lifeOf(running: Running | null, signal: AbortSignal): Promise<number | null> {
  if (!running || running.isMixed) return null;
  const policy = await get<StoredPolicy>(policyPath(running.id), signal).catch(() => null);
  if (policy?.revision !== running.revision) return null;
  const life = policy.cache?.l1Ttl;
  return life ? parseDuration(life) : USUAL_SECONDS;
}

async function load(scope: Scope, running: Running | null, signal: AbortSignal) {
  // Of several instances the mean: each has memory of its own.
  const mean = (metric: string, by: string): Promise<Awaited<ReturnType<typeof queryNow>>> => queryNow(`avg${by}(${selector(`fastbreak.cache.${metric}`, CACHE, scope)})`, signal);
  const by = ` by (${CURVE_LABELS}) `;
  const [hits, usage, sample, limit, life] = await Promise.all([mean('curve.hit_ratio', by), mean('curve.usage', by), mean('curve.sample', ''), mean('limit', ''), lifeOf(running, signal)]);
  return {
    byLife: curvePoints('ttl', hits, usage, life),
    bySize: curvePoints('capacity', hits, usage, limit[0]?.value ?? null),
    sample: sample[0]?.value ?? 0,
  };
}

export function CacheCurves({ scope, running }: { scope: Scope; running: Running | null }): JSX.Element | null {
  const loaded = useLoad((signal) => load(scope, running, signal), JSON.stringify([scope, running]), () => range.value);
  useAgain(loaded, EVERY_MS);
  const { data } = loaded.value;
  if (!data) return null;
  const { byLife, bySize, sample } = data;
  if (byLife.length + bySize.length === 0) {
    return (
      <Panel title="What another life or size would do" wide>
        <Empty>Too few reads were watched to tell. A larger share of watched keys (<code>sampleRatio</code> of its policy) tells sooner.</Empty>
      </Panel>
    );
  }
  const note = `an instance's mean, from ${count(Math.round(sample))} watched reads`;
  return (
    <div class="grid">
      {byLife.length > 0 && <CurvePanel title="Another life in memory" what="Fresh for" note={note} points={byLife} />}
      {bySize.length > 0 && <CurvePanel title="Another size of memory" what="At most" note={note} points={bySize} />}
    </div>
  );
}
