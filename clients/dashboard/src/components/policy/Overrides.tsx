// What counts instead of a policy for a while, and when it ends.
import type { JSX } from 'preact';
import { call, type Schemas, words } from '../../data/fetch.ts';
import { because } from '../../data/policies.ts';
import { periodWords } from '../../data/policy-words.ts';
import { now } from '../../data/range.ts';
import { span } from '../../data/time.ts';
import { href } from '../../data/url.ts';
import { useGet } from '../../data/use.ts';
import { Panel } from '../Panel.tsx';
import { tell } from '../Toasts.tsx';

type Override = Schemas['OverrideView'];

const EVERY_MS = 3000;

/** `lives × 2, serves stale for 5 min`. */
export function adjustmentWords({ ttlFactor, serveStale, rateFactor, concurrencyFactor }: Override['adjustment']): string {
  const factor = (what: string, by: number | null | undefined): string => (typeof by === 'number' ? `${what} × ${by}` : '');
  return [factor('lives', ttlFactor), serveStale ? `serves stale for ${periodWords(serveStale)}` : '', factor('rate', rateFactor), factor('batches at once', concurrencyFactor)].filter(Boolean).join(', ');
}

export function Overrides({ policyId }: { policyId: string }): JSX.Element | null {
  const overrides = useGet<Override[]>(`/api/overrides?policy=${encodeURIComponent(policyId)}`, EVERY_MS);
  const found = overrides.value.data ?? [];
  if (found.length === 0) return null;
  const end = async ({ id }: Override): Promise<void> => {
    await call('DELETE', `/api/overrides/${encodeURIComponent(id)}${because('ended by hand')}`).then(() => tell('The override is over.'), (error: unknown) => tell(`Not ended: ${words(error)}`, true));
    overrides.again();
  };
  return (
    <Panel title="Overrides" note="count instead of it until they end">
      <ul class="rows">
        {found.map((one) => (
          <li key={one.id}>
            <span class="what">
              <b>{adjustmentWords(one.adjustment)}</b>
              <span class="muted">{one.author}{one.reason && `: ${one.reason}`}{one.ruleId && <> · <a href={href(`/alerts/rules/${encodeURIComponent(one.ruleId)}`)}>rule {one.ruleId}</a></>}</span>
            </span>
            <span class="muted">ends in {span(Date.parse(one.expiresAt) - now.value)}</span>
            <button type="button" onClick={() => void end(one)}>End it</button>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
