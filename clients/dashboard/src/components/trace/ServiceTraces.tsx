// The slowest and the newest failed traces of a service, on its page.
import type { JSX } from 'preact';
import { range } from '../../data/range.ts';
import { type Found, search } from '../../data/traces.ts';
import { href } from '../../data/url.ts';
import { useLoad } from '../../data/use.ts';
import { Empty, Loading, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { TraceTable } from './TraceTable.tsx';

const EACH = 4;

async function load(service: string, signal: AbortSignal): Promise<Found[]> {
  const [slow, failed] = await Promise.all([search({ service, order: 'slowest' }, signal, EACH), search({ service, error: 'true' }, signal, EACH)]);
  const seen = new Set(slow.traces.map(({ traceId }) => traceId));
  return [...slow.traces, ...failed.traces.filter(({ traceId }) => !seen.has(traceId))];
}

export function ServiceTraces({ service }: { service: string }): JSX.Element {
  const loaded = useLoad((signal) => load(service, signal), service, () => range.value);
  const { data, error } = loaded.value;
  const of = encodeURIComponent(service);
  const links = <><a class="button quiet" href={href(`/graph?around=${of}`)}>Its callers</a><a class="button quiet" href={href(`/traces?service=${of}`)}>All its traces</a></>;
  return (
    <Panel title="Slow and failed traces" wide actions={links}>
      {error && !error.isMissing && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {(data?.length === 0 || error?.isMissing) && <Empty>No trace with this service is kept of this time.</Empty>}
      {data && data.length > 0 && <TraceTable traces={data} label={`Traces of ${service}`} />}
    </Panel>
  );
}
