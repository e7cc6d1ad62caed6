// Attributes of a span, a resource, an event; each leads to the traces that have it too.
import type { JSX } from 'preact';
import { attributeText } from '../../data/traces.ts';
import { href } from '../../data/url.ts';

type Values = Record<string, unknown>;

export function written(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function Value({ name, value, isFound }: { name: string; value: unknown; isFound: boolean }): JSX.Element {
  const text = written(value);
  if (text.includes('\n')) return <pre tabIndex={0} role="group" aria-label={name}>{text}</pre>;
  const isPlain = ['string', 'number', 'boolean'].includes(typeof value) && text !== '' && text.length < 120 && !text.includes('"');
  if (!isFound || !isPlain) return <>{text}</>;
  return <a class="plain" title="Traces with this attribute" href={href(`/traces?attribute=${encodeURIComponent(attributeText(name, text))}`)}>{text}</a>;
}

export function Attributes({ values, isFound = false }: { values: Values; isFound?: boolean }): JSX.Element {
  return (
    <dl class="facts attributes">
      {Object.entries(values).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd><Value name={name} value={value} isFound={isFound} /></dd>
        </div>
      ))}
    </dl>
  );
}
