// Kept traces: looked for, as dots and as a list.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { Scatter } from '../components/trace/Scatter.tsx';
import { TraceForm } from '../components/trace/TraceForm.tsx';
import { TraceTable } from '../components/trace/TraceTable.tsx';
import { ScatterTable } from '../components/trace/ScatterTable.tsx';
import { ApiError, words } from '../data/fetch.ts';
import { isLive, range } from '../data/range.ts';
import { type Page, page, REASONS, search, WISHES, type Wishes, wishes } from '../data/traces.ts';
import { href, param, set } from '../data/url.ts';
import { useAgain, useLoad } from '../data/use.ts';

const EVERY_MS = 10_000;

function Nothing({ given }: { given: Wishes }): JSX.Element {
  const isNarrowed = Object.keys(given).some((name) => name !== 'order');
  return (
    <Empty>
      <p><b>{isNarrowed ? 'No kept trace is like that in this time.' : 'No trace is kept of this time.'}</b></p>
      <p>Every span counts in rates and durations. Whole traces are kept when there is a reason:</p>
      <ul class="why">{Object.entries(REASONS).map(([name, why]) => <li key={name}><span class={`chip kept-${name}`}>{name}</span> {why}</li>)}</ul>
      <p>A trace is here about ten seconds after its last span.{' '}
        {isNarrowed ? <button type="button" onClick={() => set(Object.fromEntries(WISHES.map((name) => [name, null])))}>Clear the search</button> : <a href={href('/start')}>Send traces</a>}
      </p>
    </Empty>
  );
}

function Dots({ traces, isCut }: { traces: Page['traces']; isCut: boolean }): JSX.Element {
  const told = useSignal('');
  const isTable = param('view') === 'table';
  const toggle = (): void => set({ view: isTable ? null : 'table' }, true);
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'v' && !event.ctrlKey && !event.metaKey) toggle();
  };
  return (
    <Panel title="Durations" note={told.value || 'click to open, drag to narrow the time; diamonds failed'} wide onKeyDown={key}
      actions={<button type="button" class="quiet" aria-pressed={isTable} onClick={toggle}>Table</button>}>
      {isTable ? <ScatterTable traces={traces} /> : <Scatter traces={traces} isCut={isCut} onTell={(text) => (told.value = text)} />}
      <p class="sr" aria-live="polite">{told.value}</p>
    </Panel>
  );
}

export function TracesPage(): JSX.Element {
  const given = wishes();
  const key = JSON.stringify(given);
  const [more, failed] = [useSignal<Page | null>(null), useSignal('')];
  const first = useLoad((signal) => search(given, signal), key, () => {
    more.value = null;
    return range.value;
  });
  useAgain({ again: () => more.peek() === null && isLive.peek() && first.again() }, EVERY_MS);
  const { data, error, loading } = first.value;
  const traces = [...(data?.traces ?? []), ...(more.value?.traces ?? [])];
  const next = more.value ? more.value.next : data?.next;
  const grow = async (): Promise<void> => {
    if (!next) return;
    failed.value = '';
    try {
      const found = await page(next);
      more.value = { traces: [...(more.value?.traces ?? []), ...found.traces], next: found.next };
    } catch (wrong) {
      failed.value = words(wrong);
    }
  };
  if (error?.isMissing) return <div class="page"><Missing what="Traces" /></div>;
  return (
    <div class="page">
      <Panel title="Search" wide><TraceForm wishes={given} wrong={error?.field ?? null} /></Panel>
      {error && <Problem error={error} again={first.again} />}
      {!data && !error && <Loading />}
      {data && !error && traces.length === 0 && <Panel title="Traces" wide busy={loading}><Nothing given={given} /></Panel>}
      {traces.length > 0 && !error && (
        <>
          <Dots traces={traces} isCut={Boolean(next) && given.order !== 'slowest'} />
          <Panel title={given.order === 'slowest' ? 'Slowest traces' : 'Newest traces'} note={`${traces.length}${next ? ' and more' : ''}`} wide busy={loading}>
            <TraceTable traces={traces} />
            {failed.value && <Problem error={new ApiError(0, failed.value)} />}
            {next && <p class="below"><button type="button" onClick={() => void grow()}>Show more</button></p>}
          </Panel>
        </>
      )}
    </div>
  );
}
