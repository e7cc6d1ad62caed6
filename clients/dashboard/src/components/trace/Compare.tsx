// What differs in the box of a heatmap, and traces from it.
import type { JSX } from 'preact';
import { type Box, boxText, compare, type Compared, FEW, type Row } from '../../data/compare.ts';
import { show } from '../../data/format.ts';
import { range } from '../../data/range.ts';
import { atClock } from '../../data/time.ts';
import { attributeText, traceHref } from '../../data/traces.ts';
import { href } from '../../data/url.ts';
import { useLoad } from '../../data/use.ts';
import { Empty, Loading, Problem } from '../Empty.tsx';
import { Icon } from '../Icon.tsx';
import { Panel } from '../Panel.tsx';

const EXAMPLES = 8;

function Share({ of, kind }: { of: number; kind: string }): JSX.Element {
  return <span class="share"><i class={kind} aria-hidden="true" style={{ width: `${of * 100}%` }} /><span>{show(of * 100, '%')}</span></span>;
}

function Differences({ rows, service }: { rows: Row[]; service: string }): JSX.Element {
  const link = ({ name, value }: Row): string => `/traces?${new URLSearchParams(name === 'operation' ? { service, operation: value } : { service, attribute: attributeText(name, value) })}`;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="What differs">
      <table class="differences">
        <thead><tr><th scope="col">Attribute</th><th scope="col">In the box</th><th scope="col">Elsewhere</th></tr></thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name + row.value}>
              <th scope="row"><span class="muted">{row.name}</span> <a href={href(link(row))}>{row.value || 'empty'}</a></th>
              <td><Share of={row.inside} kind="in" /></td>
              <td><Share of={row.outside} kind="out" /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Examples({ entries }: { entries: Compared['inside'] }): JSX.Element {
  const slowest = [...entries].sort((a, b) => b.seconds - a.seconds).slice(0, EXAMPLES);
  return (
    <ul class="rows examples" aria-label="Traces from the box">
      <li class="muted">Slowest traces from it</li>
      {slowest.map(({ traceId, at, seconds, failed }) => (
        <li key={traceId + at}><a href={href(traceHref(traceId))}>{show(seconds, 's')}</a><span class="muted">{atClock(at)}</span>{failed && <span class="bad">failed</span>}</li>
      ))}
    </ul>
  );
}

function Found({ found, service }: { found: Compared; service: string }): JSX.Element {
  const { inside, outside, rows } = found;
  if (inside.length === 0) return <Empty><p><b>No trace of these requests is kept.</b></p><p>Of ordinary requests only a few a minute are kept; a larger box has more of them.</p></Empty>;
  return (
    <div class="compared">
      <div>
        {inside.length < FEW && <p class="note-line">Only {inside.length} of these requests {inside.length === 1 ? 'is' : 'are'} kept as traces: shares say little.</p>}
        {rows.length > 0 ? <Differences rows={rows} service={service} /> : <Empty>No attribute is more common here than in the other {outside.length} kept requests.</Empty>}
      </div>
      <Examples entries={inside} />
    </div>
  );
}

export function Compare({ service, box, onClose }: { service: string; box: Box; onClose: () => void }): JSX.Element {
  const loaded = useLoad((signal) => compare(service, box, range.peek(), signal), service + boxText(box), () => range.value);
  const { data, error } = loaded.value;
  const durations = `${show(box.low, 's')} to ${Number.isFinite(box.high) ? show(box.high, 's') : 'any'}`;
  const note = `${atClock(box.from)} to ${atClock(box.to)}, ${durations}${data ? `; ${data.inside.length} kept requests against ${data.outside.length}` : ''}`;
  return (
    <Panel title="What differs in the box" note={note} wide actions={<button type="button" class="icon-button" aria-label="Close the comparison" onClick={onClose}><Icon path="M4 4l8 8M12 4l-8 8" /></button>}>
      {error && <Problem error={error} again={loaded.again} />}
      {data ? <Found found={data} service={service} /> : !error && <Loading />}
    </Panel>
  );
}
