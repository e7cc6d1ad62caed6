// Caches: how often each level answers, why it did not, what loading costs, and what another life or size would do.
import type { JSX } from 'preact';
import { Chart } from '../components/chart/Chart.tsx';
import { CacheCurves } from '../components/policy/CacheCurves.tsx';
import { Invalidations } from '../components/policy/Invalidations.tsx';
import { Snippet } from '../components/policy/Snippet.tsx';
import { TargetPage } from '../components/policy/TargetPage.tsx';
import type { Figure } from '../components/policy/TargetTable.tsx';
import { Warming } from '../components/policy/Warming.tsx';
import { CACHE, cacheQueries, CAUSE, REASON, RESULT } from '../data/caches.ts';
import type { Expression } from '../data/series.ts';
import { EVERYWHERE, lineOf, plain, type Scope } from '../data/targets.ts';

const FIGURES: Figure[] = [
  { field: 'reads', title: 'Reads', unit: '1/s' },
  { field: 'hits', title: 'Hits', unit: '%' },
  { field: 'loadP95', title: 'Load p95', unit: 's' },
  { field: 'failed', title: 'Failed loads', unit: '1/s', wide: true, bad: 0 },
  { field: 'stale', title: 'Stale', unit: '1/s', wide: true },
  { field: 'evicted', title: 'Evicted', unit: '1/s', wide: true },
  { field: 'entries', title: 'Entries', unit: '', wide: true },
  { field: 'bytes', title: 'Memory', unit: 'By', wide: true },
];
const BY = `service_name, ${CACHE}`;

const CODE = (endpoint: string): string => `let fastbreak = FastBreak::builder("checkout").endpoint("${endpoint}").start()?;

// \`Users\` is yours: it loads one by its key.
let users = Cache::builder("users", Users).build().await?;
fastbreak.cache("users", &users);

let user = users.get_or_load(&7).await?;`;

function Charts({ scope }: { scope: Scope }): JSX.Element {
  const by = scope.name ? '' : BY;
  const [all, q] = [cacheQueries(scope), cacheQueries(scope, by)];
  const line = lineOf(CACHE, by === '');
  const lines = (...more: Expression[]): Expression[] => (by ? more.slice(0, 1) : more);
  const levels = [{ query: all.hits, name: 'either level' }, { query: all.memoryHits, name: 'memory' }, { query: all.redisHits, name: 'Redis, of what memory missed' }];
  return (
    <div class="grid three">
      <Chart title="Hit ratio by level" unit="%" top={100} expressions={levels} />
      <Chart title="Why memory did not answer" unit="1/s" expressions={[{ query: all.misses, name: plain(CAUSE) }]} empty="Memory answered every read." />
      <Chart title="Why Redis did not answer" unit="1/s" expressions={[{ query: all.redisMisses, name: plain(CAUSE) }]} empty="There is no Redis, or it answered every read." />
      <Chart title="Loads" unit="1/s" expressions={by ? [line(q.loads, '')] : [{ query: all.loadsBy, name: plain(RESULT) }, line(q.coalesced, 'reads that waited for one', { dash: true, color: '--c8' })]} />
      <Chart title="Load duration" unit="s" expressions={lines(line(q.loadP95, 'p95', { color: '--c2' }), line(q.loadP50, 'p50', { color: '--c1' }))} note={by && 'p95'} empty="Nothing was loaded in this time." />
      <Chart title="Served past its life" unit="1/s" expressions={by ? [line(q.stale, '')] : [{ query: all.staleBy, name: plain(REASON) }]} empty="Nothing was served past its life." />
      <Chart title="Memory" unit="By" expressions={lines(line(q.bytes, 'held'), line(q.limit, 'limit', { dash: true, color: '--critical' }))} />
      <Chart title="Entries in memory" unit="" expressions={[line(q.entries, 'entries')]} />
      <Chart title="Thrown out and made invalid" unit="1/s" expressions={lines(line(q.evicted, 'made room'), line(q.invalidated, 'made invalid', { color: '--c4' }))} note={by && 'made room'} />
      <Chart title="Writes" unit="1/s" expressions={[{ query: all.writes, name: plain(RESULT) }]} empty="Nothing was written." />
      <Chart title="Writes that wait for the source" unit="" expressions={[line(q.queued, 'writes')]} empty="Nothing is written behind." />
      <Chart title="Redis failures" unit="1/s" expressions={[{ query: all.failures, name: plain(REASON) }]} empty="There is no Redis, or it never failed." />
    </div>
  );
}

const { reads, hits, loadP95, failed, stale, evicted, entries, bytes } = cacheQueries(EVERYWHERE, BY);

export function CachePage(): JSX.Element {
  const nothing = (
    <Snippet title="No cache has reported yet" metric="fastbreak.cache.requests" code={CODE}>
      A cache keeps what was loaded, in memory and in Redis, for as long as a policy says. One call loads for all that wait.
    </Snippet>
  );
  return (
    <TargetPage kind="cache" title="Key spaces" noun="Key space" path="/cache" label={CACHE} queries={{ reads, hits, loadP95, failed, stale, evicted, entries, bytes }} figures={FIGURES} nothing={nothing}
      charts={(scope, chosen) => (
        <>
          {chosen && <CacheCurves scope={scope} running={chosen.running} key={`curves ${scope.service} ${scope.name}`} />}
          <Invalidations scope={scope} key={`invalidations ${scope.service} ${scope.name}`} />
          <Warming scope={scope} key={`warming ${scope.service} ${scope.name}`} />
          <Charts scope={scope} key={`${scope.service} ${scope.name}`} />
        </>
      )} />
  );
}
