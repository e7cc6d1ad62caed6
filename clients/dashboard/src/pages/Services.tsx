// Every service, to be sorted and narrowed.
import type { JSX } from 'preact';
import { Filter } from '../components/Filter.tsx';
import { Panel } from '../components/Panel.tsx';
import { ServiceTable } from '../components/ServiceTable.tsx';

export function ServicesPage(): JSX.Element {
  return (
    <div class="page">
      <Panel title="Services" wide actions={<Filter label="Filter services" />}>
        <ServiceTable name="services" />
      </Panel>
    </div>
  );
}
