// Overrides that ended: the newest is told, those before are folded away.
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { adjustmentWords, type EndedOverride, endWords, lastedWords } from '../../data/overrides.ts';
import { policyPath } from '../../data/policies.ts';
import { useGet } from '../../data/use.ts';
import { Problem } from '../Empty.tsx';
import { OverrideBy } from './OverrideBy.tsx';

const EVERY_MS = 3000;
const SHOWN = 2;

function Lines({ found, label }: { found: EndedOverride[]; label: string }): JSX.Element {
  return (
    <ul class="rows" aria-label={label}>
      {found.map((one) => (
        <li key={`${one.id} ${one.endedAt}`} class="override">
          <span class="what">
            <span>{adjustmentWords(one.adjustment)}</span>
            <OverrideBy one={one} />
          </span>
          <span class="what">
            <span>{endWords(one)}</span>
            <small class="muted">{lastedWords(one)}</small>
          </span>
        </li>
      ))}
    </ul>
  );
}

/** `running` names those that are not over yet: when it changes, one may be. */
export function EndedOverrides({ policyId, running }: { policyId: string; running: string }): JSX.Element | null {
  const ended = useGet<EndedOverride[]>(policyPath(policyId, '/ended-overrides'), EVERY_MS);
  useEffect(() => ended.again(), [running]);
  const { data, error } = ended.value;
  const found = data ?? [];
  const folded = found.slice(SHOWN);
  if (found.length === 0) return error && !error.isMissing ? <Problem error={error} again={ended.again} /> : null;
  return (
    <div class="ended">
      <h3>Ended</h3>
      <Lines found={found.slice(0, SHOWN)} label="Overrides that ended" />
      {folded.length > 0 && (
        <details>
          <summary>{folded.length} before them</summary>
          <Lines found={folded} label="Overrides that ended before" />
        </details>
      )}
    </div>
  );
}
