// One span with all that it carries, asked for when it is opened.
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Path } from '../../data/critical.ts';
import type { Schemas } from '../../data/fetch.ts';
import { show } from '../../data/format.ts';
import { idOf, KINDS, type Tree } from '../../data/tree.ts';
import { href } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';
import { Loading, Problem } from '../Empty.tsx';
import { Icon } from '../Icon.tsx';
import { Attributes } from './Attributes.tsx';
import { serviceColour } from './Row.tsx';

type Span = Schemas['SpanView'];

function Part({ title, open = true, children }: { title: string; open?: boolean; children: JSX.Element | JSX.Element[] }): JSX.Element {
  return <details class="part" open={open}><summary>{title}</summary>{children}</details>;
}

function Carried({ span }: { span: Span }): JSX.Element {
  const { attributes, resource, scope, events, links, dropped } = span;
  const lost = dropped.attributes + dropped.events + dropped.links;
  return (
    <>
      {span.statusMessage && <p class="problem"><span>{span.statusMessage}</span></p>}
      {Object.keys(attributes).length > 0 && <Part title="Attributes"><Attributes values={attributes} isFound /></Part>}
      {events.length > 0 && (
        <Part title={`Events (${events.length})`}>
          {events.map((event, n) => <div key={n} class="event"><p><b>{event.name}</b> <span class="muted">after {show(event.atNanos / 1e9, 's')}</span></p><Attributes values={event.attributes} /></div>)}
        </Part>
      )}
      {links.length > 0 && (
        <Part title={`Links (${links.length})`}>
          {links.map((link) => <p key={link.spanId} class="pad"><a href={href(`/traces/${link.traceId}?span=${link.spanId}`)}>{link.traceId}</a></p>)}
        </Part>
      )}
      <Part title="Resource" open={false}><Attributes values={resource} isFound /></Part>
      <Part title="Scope" open={false}><Attributes values={{ name: scope.name, version: scope.version, ...scope.attributes }} /></Part>
      {lost > 0 && <p class="muted pad">The client left out {dropped.attributes} attributes, {dropped.events} events, {dropped.links} links.</p>}
    </>
  );
}

interface Props {
  tree: Tree;
  path: Path;
  p: number;
  onClose: () => void;
}

export function SpanPanel({ tree, path, p, onClose }: Props): JSX.Element {
  const [service, operation] = [tree.services[tree.service[p]!] ?? '', tree.operations[tree.operation[p]!] ?? ''];
  const loaded = useGet<Span>(`/api/traces/${tree.trace.traceId}/spans/${idOf(tree, p)}`);
  const head = useRef<HTMLHeadingElement>(null);
  useEffect(() => head.current?.focus({ preventScroll: true }), [p]);
  const { data, error } = loaded.value;
  const facts: Record<string, string> = {
    Duration: show(tree.duration[p]! / 1e9, 's'),
    Began: `after ${show(tree.start[p]! / 1e9, 's')}`,
    Kind: KINDS[tree.kind[p]!] ?? '',
    'Critical path': path.time[p]! > 0 ? `${show(path.time[p]! / 1e9, 's')} of it` : 'not on it',
    Below: `${tree.size[p]! - 1} spans`,
    Id: idOf(tree, p),
  };
  return (
    <section class="panel span-panel" aria-label="Span" onKeyDown={(event) => event.key === 'Escape' && onClose()}>
      <header>
        <i class="ink" aria-hidden="true" style={{ background: serviceColour(tree.service[p]!) }} />
        <h2 ref={head} tabIndex={-1}>{operation}</h2>
        <span class="actions"><button type="button" class="icon-button" aria-label="Close the span" onClick={onClose}><Icon path="M4 4l8 8M12 4l-8 8" /></button></span>
      </header>
      <p class="pad span-of"><a href={href(`/services/${encodeURIComponent(service)}`)}>{service}</a>{tree.failed[p] ? <b class="bad">failed</b> : null}<a href={href(`/traces?service=${encodeURIComponent(service)}&operation=${encodeURIComponent(operation)}`)}>traces like this</a></p>
      <Attributes values={facts} />
      {error && <Problem error={error} again={loaded.again} />}
      {data ? <Carried span={data} /> : !error && <Loading />}
    </section>
  );
}
