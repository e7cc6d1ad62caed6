// Batchers: how many items go into a call, how long they wait for it, what is saved and what is turned away.
import type { JSX } from 'preact';
import { Chart } from '../components/chart/Chart.tsx';
import { Snippet } from '../components/policy/Snippet.tsx';
import { TargetPage } from '../components/policy/TargetPage.tsx';
import type { Figure } from '../components/policy/TargetTable.tsx';
import { BATCHER, batchQueries, RESULT } from '../data/batchers.ts';
import type { Expression } from '../data/series.ts';
import { EVERYWHERE, lineOf, plain, type Scope } from '../data/targets.ts';

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
  const line = lineOf(BATCHER, by === '');
  /** Of one batcher more than one line. */
  const lines = (...all: Expression[]): Expression[] => (by ? all.slice(0, 1) : all);
  return (
    <div class="grid three">
      <Chart title="Items by what became of them" unit="1/s" expressions={[{ query: q.byResult, name: plain(RESULT) }]} colourOf={(name) => COLOURS[name] ?? '--c8'} />
      <Chart title="Items in a call" unit="" expressions={lines(line(q.perCall, 'mean'), line(q.perCallP95, 'p95'))} note={by && 'mean'} />
      <Chart title="Wait for company" unit="s" expressions={lines(line(q.wait, 'an item, mean'), line(q.waitP95, 'the first of a call, p95'))} note={by && 'an item, mean'} />
      <Chart title="Calls" unit="1/s" expressions={lines(line(q.calls, 'made'), line(q.saved, 'saved', { color: '--c3', dash: true }))} />
      <Chart title="Call duration" unit="s" expressions={lines(line(q.callP95, 'p95', { color: '--c2' }), line(q.callP50, 'p50', { color: '--c1' }))} note={by && 'p95'} />
      <Chart title="Items that share an answer" unit="%" top={10} expressions={[line(q.coalesced, 'shared')]} />
      <Chart title="Items without an answer yet" unit="" expressions={lines(line(q.queued, 'items'), line(q.active, 'calls under way', { color: '--c6' }))} />
      <Chart title="Retries" unit="1/s" expressions={[line(q.retries, 'items tried again')]} />
      <Chart title="Items turned away" unit="1/s" expressions={[line(q.away, 'turned away', { color: '--critical' })]} empty="None was refused, expired or given up." />
    </div>
  );
}

const { items, perCall, wait, saved, coalesced, retries, away, queued } = batchQueries(EVERYWHERE, BY);

export function BatchPage(): JSX.Element {
  const nothing = (
    <Snippet title="No batcher has reported yet" metric="fastbreak.batch.items" code={CODE}>
      A batcher gathers items into one call, within a wait and a size that a policy sets. Equal items share an answer.
    </Snippet>
  );
  return (
    <TargetPage kind="batch" title="Batchers" noun="Batcher" path="/batch" label={BATCHER} queries={{ items, perCall, wait, saved, coalesced, retries, away, queued }} figures={FIGURES} nothing={nothing}
      charts={(scope) => <Charts scope={scope} key={`${scope.service} ${scope.name}`} />} />
  );
}
