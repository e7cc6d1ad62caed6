// Between the pages of alerting.
import type { JSX } from 'preact';
import { href, path } from '../data/url.ts';

const TABS: [string, string][] = [
  ['Open', '/alerts'],
  ['History', '/alerts/history'],
  ['Rules', '/alerts/rules'],
];

export function AlertTabs(): JSX.Element {
  return (
    <nav class="tabs" aria-label="Alerting">
      {TABS.map(([title, to]) => (
        <a key={to} href={href(to)} aria-current={path.value === to ? 'page' : undefined}>{title}</a>
      ))}
    </nav>
  );
}
