// Goes anywhere by name: pages, services, metrics, rules, policies, and traces by their id.
import { useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Rule } from '../data/alerts.ts';
import { get, type Schemas } from '../data/fetch.ts';
import { paletteOpen } from '../data/keys.ts';
import { PLACES } from '../data/nav.ts';
import { go } from '../data/url.ts';
import { Dialog } from './Dialog.tsx';

interface Target {
  name: string;
  kind: string;
  to: string;
}

const SHOWN = 12;
const TRACE_ID = /^[0-9a-f]{32}$/;

async function targets(): Promise<Target[]> {
  const pages = PLACES.map((place): Target => ({ name: place.title, kind: 'page', to: place.to }));
  const [services, metrics, rules, policies] = await Promise.allSettled([
    get<Schemas['ServicesView']>('/api/services'),
    get<Schemas['MetricsView']>('/api/catalog/metrics'),
    get<Rule[]>('/api/alerts/rules'),
    get<Schemas['PolicyView'][]>('/api/policies'),
  ]);
  const found: Target[] = [...pages];
  if (services.status === 'fulfilled') found.push(...services.value.services.map(({ name }) => ({ name, kind: 'service', to: `/services/${encodeURIComponent(name)}` })));
  if (rules.status === 'fulfilled') found.push(...rules.value.map(({ id, name }) => ({ name, kind: 'rule', to: `/alerts/rules/${encodeURIComponent(id)}` })));
  if (policies.status === 'fulfilled') found.push(...policies.value.map(({ id, name }) => ({ name, kind: 'policy', to: `/policies/${encodeURIComponent(id)}` })));
  if (metrics.status === 'fulfilled') found.push(...metrics.value.metrics.map(({ name }) => ({ name, kind: 'metric', to: `/explore?metric=${encodeURIComponent(name)}` })));
  return found;
}

/** How well `name` answers to `wanted`: letters in order, best together and at the start. */
export function match(name: string, wanted: string): number {
  const text = name.toLowerCase();
  const at = text.indexOf(wanted);
  if (at >= 0) return 1000 - at - text.length / 100;
  let from = 0;
  for (const letter of wanted) {
    from = text.indexOf(letter, from) + 1;
    if (from === 0) return 0;
  }
  return 100 - text.length / 10;
}

function Inside({ onClose }: { onClose: () => void }): JSX.Element {
  const all = useSignal<Target[]>(PLACES.map((place) => ({ name: place.title, kind: 'page', to: place.to })));
  const wanted = useSignal('');
  const chosen = useSignal(0);
  const input = useRef<HTMLInputElement>(null);
  const shown = useComputed(() => {
    const text = wanted.value.trim().toLowerCase();
    if (TRACE_ID.test(text)) return [{ name: text, kind: 'trace', to: `/traces/${text}` }];
    if (!text) return all.value.slice(0, SHOWN);
    const scored = all.value.map((target) => ({ target, score: match(target.name, text) }));
    return scored.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score).slice(0, SHOWN).map(({ target }) => target);
  });
  useEffect(() => {
    input.current?.focus();
    void targets().then((found) => (all.value = found));
  }, []);
  const open = (target: Target | undefined): void => {
    if (!target) return;
    onClose();
    go(target.to);
  };
  const onKey = (event: KeyboardEvent): void => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      chosen.value = Math.min(Math.max(chosen.value + by, 0), shown.value.length - 1);
    }
    if (event.key === 'Enter') {
      event.preventDefault();
      open(shown.value[chosen.value]);
    }
  };
  return (
    <>
      <input ref={input} type="text" role="combobox" aria-expanded="true" aria-controls="targets" aria-label="Search pages, services, metrics, rules and policies"
        aria-activedescendant={`target-${chosen.value}`} placeholder="Page, service, metric, rule, policy, trace id…" spellcheck={false} value={wanted.value} onKeyDown={onKey}
        onInput={(event) => {
          wanted.value = event.currentTarget.value;
          chosen.value = 0;
        }} />
      <ul id="targets" role="listbox" aria-label="Found">
        {shown.value.map((target, index) => (
          <li key={target.kind + target.to} id={`target-${index}`} role="option" aria-selected={index === chosen.value} onClick={() => open(target)}>
            <span>{target.name}</span>
            <i>{target.kind}</i>
          </li>
        ))}
      </ul>
      {shown.value.length === 0 && <p class="muted">Nothing is called so.</p>}
    </>
  );
}

export function Palette(): JSX.Element | null {
  if (!paletteOpen.value) return null;
  const close = (): void => {
    paletteOpen.value = false;
  };
  return (
    <Dialog title="Search" kind="palette" onClose={close}>
      <Inside onClose={close} />
    </Dialog>
  );
}
