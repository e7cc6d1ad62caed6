// Which page an address means.
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { lazy } from './components/Lazy.tsx';
import { Shell } from './components/Shell.tsx';
import { segments } from './data/url.ts';
import { AlertPage } from './pages/Alert.tsx';
import { AlertsPage } from './pages/Alerts.tsx';
import { ExplorePage } from './pages/Explore.tsx';
import { HistoryPage } from './pages/History.tsx';
import { HomePage } from './pages/Home.tsx';
import { NotFoundPage } from './pages/NotFound.tsx';
import { ReceiversPage } from './pages/Receivers.tsx';
import { RulePage } from './pages/Rule.tsx';
import { RulesPage } from './pages/Rules.tsx';
import { ServicePage } from './pages/Service.tsx';
import { ServicesPage } from './pages/Services.tsx';
import { SilencesPage } from './pages/Silences.tsx';
import { StartPage } from './pages/Start.tsx';
import { SystemPage } from './pages/System.tsx';

const TracesPage = lazy(async () => (await import('./pages/tracing.ts')).TracesPage);
const GraphPage = lazy(async () => (await import('./pages/tracing.ts')).GraphPage);
const TracePage = lazy(async () => (await import('./pages/tracing.ts')).TracePage);
const PoliciesPage = lazy(async () => (await import('./pages/control.ts')).PoliciesPage);
const CachePage = lazy(async () => (await import('./pages/control.ts')).CachePage);
const BatchPage = lazy(async () => (await import('./pages/control.ts')).BatchPage);
const PolicyPage = lazy(async () => (await import('./pages/control.ts')).PolicyPage);

interface View {
  title: string;
  page: JSX.Element;
}

function alerting(rest: string[]): View | null {
  const [first, second] = rest;
  if (first === undefined) return { title: 'Alerts', page: <AlertsPage /> };
  if (rest.length === 1 && first === 'history') return { title: 'Alert history', page: <HistoryPage /> };
  if (rest.length === 1 && first === 'rules') return { title: 'Rules', page: <RulesPage /> };
  if (rest.length === 2 && first === 'rules' && second) return { title: second === 'new' ? 'New rule' : `Rule ${second}`, page: <RulePage id={second} key={second} /> };
  return rest.length === 1 ? { title: 'Alert', page: <AlertPage id={first} key={first} /> } : null;
}

function view(parts: string[]): View {
  const [first, ...rest] = parts;
  const simple: Record<string, View> = {
    start: { title: 'Send data', page: <StartPage /> },
    services: { title: 'Services', page: <ServicesPage /> },
    traces: { title: 'Traces', page: <TracesPage /> },
    graph: { title: 'Service graph', page: <GraphPage /> },
    explore: { title: 'Explore', page: <ExplorePage /> },
    policies: { title: 'Policies', page: <PoliciesPage /> },
    cache: { title: 'Cache', page: <CachePage /> },
    batch: { title: 'Batching', page: <BatchPage /> },
    silences: { title: 'Silences', page: <SilencesPage /> },
    receivers: { title: 'Receivers', page: <ReceiversPage /> },
    system: { title: 'System', page: <SystemPage /> },
  };
  let found: View | null | undefined;
  if (first === undefined) found = { title: 'Overview', page: <HomePage /> };
  else if (first === 'alerts') found = alerting(rest);
  else if (first === 'services' && rest[0] && rest.length === 1) found = { title: rest[0], page: <ServicePage name={rest[0]} key={rest[0]} /> };
  else if (first === 'traces' && rest[0] && rest.length === 1) found = { title: 'Trace', page: <TracePage id={rest[0]} key={rest[0]} /> };
  else if (first === 'policies' && rest[0] && rest.length === 1) found = { title: rest[0] === 'new' ? 'New policy' : `Policy ${rest[0]}`, page: <PolicyPage id={rest[0]} key={rest[0]} /> };
  else if (rest.length === 0) found = simple[first];
  return found ?? { title: 'Not found', page: <NotFoundPage /> };
}

export function App(): JSX.Element {
  const { title, page } = view(segments.value);
  useEffect(() => {
    document.title = `${title} · FastBreak`;
  }, [title]);
  return <Shell title={title}>{page}</Shell>;
}
