// What to look for among kept traces; kept in the address.
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Schemas } from '../../data/fetch.ts';
import { WISHES, type Wishes } from '../../data/traces.ts';
import { set } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';

interface Props {
  wishes: Wishes;
  /** The parameter that the server did not understand. */
  wrong: string | null;
}

export function TraceForm({ wishes, wrong }: Props): JSX.Element {
  const form = useRef<HTMLFormElement>(null);
  const services = useGet<Schemas['ServicesView']>('/api/services');
  const applied = useRef('');
  const key = JSON.stringify(wishes);
  // What another page, a link or the way back asks for is written into the fields; what is typed stays as it is.
  // Before anything else is typed: an effect after the paint would write an older search over a newer one.
  useLayoutEffect(() => {
    if (applied.current === key) return;
    for (const name of WISHES) {
      const field = form.current?.elements.namedItem(name) as HTMLInputElement | HTMLSelectElement | null;
      if (field) field.value = wishes[name] ?? '';
    }
  }, [key]);
  const apply = (event?: Event): void => {
    event?.preventDefault();
    if (!form.current) return;
    const given = new FormData(form.current);
    const pairs = WISHES.map((name): [string, string] => [name, String(given.get(name) ?? '').trim()]);
    applied.current = JSON.stringify(Object.fromEntries(pairs.filter(([, text]) => text !== '')));
    set(Object.fromEntries(pairs.map(([name, text]) => [name, text || null])));
  };
  const clear = (): void => set(Object.fromEntries(WISHES.map((name) => [name, null])));
  const bad = (name: string): { 'aria-invalid'?: 'true' } => (wrong === name ? { 'aria-invalid': 'true' } : {});
  const common = { spellcheck: false, autocomplete: 'off' } as const;
  const isAny = Object.keys(wishes).some((name) => name !== 'order');
  return (
    <form class="trace-form" ref={form} role="search" aria-label="Traces" onSubmit={apply}>
      <label>Service<input name="service" list="trace-services" placeholder="any" {...bad('service')} {...common} onChange={() => apply()} /></label>
      <label>With<input name="with" list="trace-services" placeholder="another service" {...bad('with')} {...common} onChange={() => apply()} /></label>
      <datalist id="trace-services">{services.value.data?.services.map(({ name }) => <option key={name} value={name} />)}</datalist>
      <label>Operation<input name="operation" placeholder="any" {...bad('operation')} {...common} onChange={() => apply()} /></label>
      <label class="short">At least<input name="minDuration" placeholder="250ms" {...bad('minDuration')} {...common} onChange={() => apply()} /></label>
      <label class="short">At most<input name="maxDuration" placeholder="2s" {...bad('maxDuration')} {...common} onChange={() => apply()} /></label>
      <label class="broad">Attributes<input name="attribute" placeholder='cloud.region=eu user.tier="very good"' {...bad('attribute')} {...common} onChange={() => apply()} /></label>
      <label class="short">Errors
        <select name="error" onChange={() => apply()}>
          <option value="">any</option>
          <option value="true">with</option>
          <option value="false">without</option>
        </select>
      </label>
      <label class="short">Order
        <select name="order" onChange={() => apply()}>
          <option value="">newest</option>
          <option value="slowest">slowest</option>
        </select>
      </label>
      <span class="buttons">
        <button type="submit" class="primary">Search</button>
        {isAny && <button type="button" class="quiet" onClick={clear}>Clear</button>}
      </span>
    </form>
  );
}
