// Batchers: how many items go into a call, how long they wait for it, what is saved and what is turned away.
import type { JSX } from 'preact';
import { Chart } from '../components/chart/Chart.tsx';
import { Loading, Problem } from '../components/Empty.tsx';
import { PolicyOf } from '../components/policy/PolicyOf.tsx';
import { Snippet } from '../components/policy/Snippet.tsx';
import { type Figure, TargetTable } from '../components/policy/TargetTable.tsx';
import { BATCHER, batchQueries } from '../data/batchers.ts';
import type { Labels } from '../data/query.ts';
import { range } from '../data/range.ts';
import { type Scope, type Target, targetOf, targets } from '../data/targets.ts';
import { useAgain, useLoad } from '../data/use.ts';

const FIGURES: Figure[] = [
  { field: 'items', title: 'Items', unit: '1/s' },
  { field: 'perCall', title: 'In a call', unit: '' },
  { field: 'wait', title: 'Wait', unit: 's' },
  { field: 'saved', title: 'Calls saved', unit: '1/s', wide: true },
  { field: 'coalesced', title: 'Shared', unit: '%', wide: true },
  { field: 'retries', title: 'Retries', unit: '1/s', wide: true },
  { field: 'away', title: 'Turned away', unit: '1/s', wide: true, bad: 0 },
  { field: 'queued', title: 'Queue', unit: '', wide: true },
];
const EVERY_MS = 10_000;
const BY = `service_name, ${BATCHER}`;
/** Red is for what was lost. */
const COLOURS: Record<string, string> = { done: '--c1', coalesced: '--c3', failed: '--critical', refused: '--warning', expired: '--c4', 'given up': '--c8' };

const CODE = (endpoint: string): string => `let fastbreak = FastBreak::builder("checkout").endpoint("${endpoint}").start()?;

// \`Prices\` is yours: it takes many items in one call.
let prices = Batcher::new(BatchPolicy::default(), Prices)?;
fastbreak.batcher("prices", &prices);

let price = prices.submit("MSFT".to_owned()).await;`;

function Charts({ scope }: { scope: Scope }): JSX.Element {
  const by = scope.name ? '' : BY;
  const q = batchQueries(scope, by);
  // Of one batcher lines say what they are, of all whose they are.
  const line = (query: string, what: string, more: object = {}) => ({ query, name: by ? (l: Labels) => `${l[BATCHER] ?? '?'} of ${l['service_name'] ?? '?'}` : what, ...more });
  const results = { query: batchQueries(scope).byResult, name: (l: Labels) => (l['fastbreak_batch_result'] ?? 'all').replace('_', ' ') };
  return (
    <div class="grid three">
      <Chart title="Items by what became of them" unit="1/s" expressions={[results]} colourOf={(name) => COLOURS[name] ?? '--c8'} />
      <Chart title="Items in a call, mean" unit="" expressions={[line(q.perCall, 'items in a call')]} />
      <Chart title="Wait for company, mean" unit="s" expressions={[line(q.wait, 'wait')]} />
      <Chart title="Calls" unit="1/s" expressions={by ? [line(q.calls, '')] : [line(q.calls, 'made'), line(q.saved, 'saved', { color: '--c3', dash: true })]} />
      <Chart title="Items that share an answer" unit="%" top={10} expressions={[line(q.coalesced, 'shared')]} />
      <Chart title="Retries" unit="1/s" expressions={[line(q.retries, 'tried again')]} />
      <Chart title="Items that wait" unit="" expressions={by ? [line(q.queued, '')] : [line(q.queued, 'wait or are under way'), line(q.active, 'calls under way', { color: '--c6' })]} />
      <Chart title="Items turned away" unit="1/s" expressions={[line(q.away, 'turned away', { color: '--critical' })]} empty="None was refused, expired or given up." />
    </div>
  );
}

function Shown({ found }: { found: Target[] }): JSX.Element {
  const scope = targetOf();
  const chosen = found.find(({ service, name }) => service === scope.service && name === scope.name);
  return (
    <>
      <TargetTable title="Batchers" noun="Batcher" path="/batch" figures={FIGURES} found={found} />
      {scope.name && <h2 class="section-title">{scope.name} of {scope.service}</h2>}
      {chosen && <PolicyOf kind="batch" target={chosen} />}
      <Charts scope={scope} key={`${scope.service} ${scope.name}`} />
    </>
  );
}

export function BatchPage(): JSX.Element {
  const { byResult: _, calls: __, active: ___, ...queries } = batchQueries(undefined, BY);
  const loaded = useLoad((signal) => targets(BATCHER, 'fastbreak.batch.items', queries, signal), 'batch', () => range.value);
  useAgain(loaded, EVERY_MS);
  const { data, error } = loaded.value;
  return (
    <div class="page">
      {error && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {data?.length === 0 && !targetOf().name && (
        <Snippet title="No batcher has reported yet" metric="fastbreak.batch.items" code={CODE}>
          A batcher gathers items into one call, within a wait and a size that a policy sets. Equal items share an answer.
        </Snippet>
      )}
      {data && (data.length > 0 || targetOf().name) && <Shown found={data} />}
    </div>
  );
}
