// Alerts that were open in the range, newest first.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { AlertRows } from '../components/AlertRows.tsx';
import { AlertTabs } from '../components/AlertTabs.tsx';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Filter } from '../components/Filter.tsx';
import { Panel } from '../components/Panel.tsx';
import type { Alert } from '../data/alerts.ts';
import { call } from '../data/fetch.ts';
import { range } from '../data/range.ts';
import { span } from '../data/time.ts';
import { param } from '../data/url.ts';
import { useLoad } from '../data/use.ts';

interface Page {
  alerts: Alert[];
  next: string | null;
}

const LIMIT = 100;

async function load(path: string, signal?: AbortSignal): Promise<Page> {
  const { data, next } = await call<Alert[]>('GET', path, signal ? { signal } : {});
  return { alerts: data, next };
}

export function HistoryPage(): JSX.Element {
  const more = useSignal<Page | null>(null);
  const { from, to } = range.value;
  const hours = Math.max(1, Math.ceil((Date.now() - from) / 3_600_000));
  const first = useLoad((signal) => {
    more.value = null;
    return load(`/api/alerts/history?hours=${hours}&limit=${LIMIT}`, signal);
  }, String(hours), () => range.value);
  const { data, error } = first.value;
  const wanted = param('q').toLowerCase();
  const inRange = ({ startsAt, endsAt }: Alert): boolean => (!startsAt || Date.parse(startsAt) <= to) && (!endsAt || Date.parse(endsAt) >= from);
  const shown = [...(data?.alerts ?? []), ...(more.value?.alerts ?? [])].filter((a) => inRange(a) && `${a.ruleName} ${Object.values(a.labels).join(' ')}`.toLowerCase().includes(wanted));
  const next = more.value ? more.value.next : data?.next;
  const acked = shown.flatMap((a) => (a.acknowledged && a.startsAt ? [Date.parse(a.acknowledged.at) - Date.parse(a.startsAt)] : []));
  const done = shown.flatMap((a) => (a.endsAt && a.startsAt ? [Date.parse(a.endsAt) - Date.parse(a.startsAt)] : []));
  const mean = (times: number[]): string => (times.length ? span(times.reduce((a, b) => a + b, 0) / times.length) : '–');
  const grow = async (): Promise<void> => {
    if (!next) return;
    const page = await load(next);
    more.value = { alerts: [...(more.value?.alerts ?? []), ...page.alerts], next: page.next };
  };
  return (
    <div class="page">
      <AlertTabs />
      {error?.isMissing ? <Missing what="Past alerts" /> : error && <Problem error={error} again={first.again} />}
      {!data && !error && <Loading />}
      {data && (
        <>
          <dl class="figures">
            <div><dt>Alerts</dt><dd>{shown.length}{next ? '+' : ''}</dd></div>
            <div><dt>Mean time to acknowledge</dt><dd>{mean(acked)}</dd></div>
            <div><dt>Mean time to resolve</dt><dd>{mean(done)}</dd></div>
          </dl>
          <Panel title="Open in this time" wide actions={<Filter label="Filter alerts" />}>
            {shown.length > 0 ? <AlertRows alerts={shown} /> : <Empty>No alert was open in this time. A longer range is chosen above.</Empty>}
            {next && <p class="below"><button type="button" onClick={() => void grow()}>Show more</button></p>}
          </Panel>
        </>
      )}
    </div>
  );
}
