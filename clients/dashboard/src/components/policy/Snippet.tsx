// Code that makes the first of it appear.
import type { ComponentChildren, JSX } from 'preact';
import type { Schemas } from '../../data/fetch.ts';
import { href } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';
import { Copy } from '../Copy.tsx';
import { Panel } from '../Panel.tsx';

interface Props {
  title: string;
  metric: string;
  children: ComponentChildren;
  code: (endpoint: string) => string;
}

export function Snippet({ title, metric, children, code }: Props): JSX.Element {
  const system = useGet<Schemas['SystemView']>('/api/system/info');
  return (
    <div class="page narrow">
      <header class="lead">
        <h2>{title}</h2>
        <p>{children}</p>
      </header>
      <Panel title="With the SDK for Rust">
        <div class="how">
          <p>It is measured as soon as it is registered, and obeys policies from then on</p>
          <Copy text={code(`http://${system.value.data?.addresses.grpc ?? '127.0.0.1:4317'}`)} label="Copy the code" />
        </div>
      </Panel>
      <p class="muted">This page fills once a service sends <code>{metric}</code>. Nothing arrives at all? <a href={href('/start')}>Send data</a></p>
    </div>
  );
}
