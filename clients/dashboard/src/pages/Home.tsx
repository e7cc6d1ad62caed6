// The overview, or how to begin while nothing has been sent.
import type { JSX } from 'preact';
import type { Schemas } from '../data/fetch.ts';
import { useGet, useTopic } from '../data/use.ts';
import { Loading } from '../components/Empty.tsx';
import { Overview } from './Overview.tsx';
import { Start } from './Start.tsx';

/** Under which the server's own host reports. */
export const OWN = 'fastbreak';

export function HomePage(): JSX.Element {
  const live = useTopic('ledger');
  const services = useGet<Schemas['ServicesView']>('/api/services');
  const names = live.value
    ? Object.keys(live.value).filter((key) => key.startsWith('service:')).map((key) => key.slice('service:'.length))
    : services.value.data?.services.map(({ name }) => name);
  if (!names) return services.value.error ? <Overview /> : <Loading />;
  return names.some((name) => name !== OWN) ? <Overview /> : <Start isFirst />;
}
