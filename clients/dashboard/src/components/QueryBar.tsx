// What is asked of a metric: by choice, or in PromQL.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { choices, defaultsOf } from '../data/build.ts';
import type { Schemas } from '../data/fetch.ts';
import { param, set } from '../data/url.ts';
import { useGet } from '../data/use.ts';

type Metric = Schemas['MetricView'];

function Builder({ metric }: { metric: Metric }): JSX.Element {
  const detail = useGet<Schemas['MetricDetail']>(`/api/catalog/metrics/${encodeURIComponent(metric.name)}?top=100`);
  const { fn, by } = defaultsOf(metric);
  const labels = (detail.value.data?.labels ?? []).map(({ name }) => name).sort();
  const chosen = param('by') || by;
  return (
    <>
      <label>
        Show
        <select value={param('fn') || fn} onChange={(event) => set({ fn: event.currentTarget.value, query: null })}>
          {choices(metric).map((choice) => <option key={choice.fn} value={choice.fn}>{choice.title}</option>)}
        </select>
      </label>
      <label>
        by
        <select value={chosen} onChange={(event) => set({ by: event.currentTarget.value, query: null })}>
          <option value="none">nothing</option>
          {[...new Set([chosen, ...labels])].filter((name) => name !== 'none').map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      </label>
    </>
  );
}

export function QueryBar({ metric, query }: { metric: Metric | undefined; query: string }): JSX.Element {
  const text = useSignal(query);
  const shown = useSignal(query);
  if (shown.value !== query) {
    shown.value = query;
    text.value = query;
  }
  const submit = (event: Event): void => {
    event.preventDefault();
    set({ query: text.value.trim() });
  };
  return (
    <form class="query" onSubmit={submit}>
      {metric && <Builder metric={metric} />}
      <label class="promql">
        PromQL
        <input value={text.value} spellcheck={false} autocomplete="off" placeholder="p95ResponseTime" onInput={(event) => (text.value = event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary">Show</button>
    </form>
  );
}
