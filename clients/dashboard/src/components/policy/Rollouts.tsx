// The rollout of a policy that is under way: how far it is, what its guards measure, and the buttons that move it; and those before.
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { words } from '../../data/fetch.ts';
import { digits } from '../../data/format.ts';
import { move } from '../../data/policies.ts';
import { now } from '../../data/range.ts';
import { guardWords, isOpen, type Move, type Rollout, stateWords } from '../../data/rollouts.ts';
import { ago, atFull, parseDuration, span } from '../../data/time.ts';
import { useGet } from '../../data/use.ts';
import { Panel } from '../Panel.tsx';
import { tell } from '../Toasts.tsx';

const EVERY_MS = 2000;
const SHOWN = 5;
const MOVES: Record<Move, string> = { pause: 'Pause', resume: 'Resume', promote: 'To the next stage', rollback: 'Roll back' };

const figure = (value: number | null | undefined): string => (value === null || value === undefined ? '–' : digits(value));

function Guards({ rollout }: { rollout: Rollout }): JSX.Element | null {
  if (rollout.guards.length === 0) return <p class="muted pad">No guard watches it.</p>;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Guards">
      <table>
        <thead><tr><th scope="col">Guard</th><th scope="col" class="num">With it</th><th scope="col" class="num">Others</th><th scope="col" class="only-wide">Must be</th><th scope="col">State</th></tr></thead>
        <tbody>
          {rollout.guards.map((guard) => {
            const reading = rollout.readings.find((one) => one.guard === guard.name);
            const isBlind = !reading || Boolean(reading.error) || typeof reading.canary !== 'number';
            return (
              <tr key={guard.name}>
                <th scope="row" title={guard.query}>{guard.name}</th>
                <td class="num">{figure(reading?.canary)}</td>
                <td class="num">{figure(reading?.control)}</td>
                <td class="only-wide">{guardWords(guard)}</td>
                <td><span class={`state why ${reading?.broken ? 'critical' : isBlind ? 'off' : 'ok'}`}>{reading?.error || (reading?.broken ? 'broken' : isBlind ? 'nothing measured' : 'holds')}</span></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** `holds for 8 min more`. */
function left({ stages, stage, stageStartedAt, state }: Rollout): string {
  const bake = parseDuration(stages[stage]?.bake ?? '10m') ?? 0;
  const ms = Date.parse(stageStartedAt) + bake * 1000 - now.value;
  return state !== 'running' ? '' : ms > 0 ? `, holds for ${span(ms)} more` : ', about to go on';
}

/** The list does not count instances. */
function Open({ latest, again }: { latest: Rollout; again: () => void }): JSX.Element {
  const counted = useGet<Rollout>(`/api/rollouts/${encodeURIComponent(latest.id)}`, EVERY_MS);
  const rollout = counted.value.data ?? latest;
  const { state, stage, stages } = rollout;
  const press = async (to: Move): Promise<void> => {
    if (to === 'rollback' && !window.confirm(`Give everybody revision ${rollout.fromRevision} again?`)) return;
    await move(rollout.id, to).then((next) => tell(`The rollout ${stateWords(next.state)}.`), (error: unknown) => tell(`Not moved: ${words(error)}`, true));
    counted.again();
    again();
  };
  const moves: Move[] = [state === 'paused' ? 'resume' : 'pause', 'promote', 'rollback'];
  return (
    <>
      <ol class="stages" aria-label="Stages">
        {stages.map(({ percent }, n) => <li key={n} class={n < stage ? 'done' : n === stage ? 'here' : ''} aria-current={n === stage ? 'step' : undefined}>{digits(percent)}%</li>)}
      </ol>
      <p class="pad">
        {rollout.canaryInstances} of {rollout.instances} instances have it. Stage {stage + 1} of {stages.length} since {ago(Date.parse(rollout.stageStartedAt), now.value)}{left(rollout)}.
        {rollout.reason && <span class="muted"> {rollout.reason}</span>}
      </p>
      <Guards rollout={rollout} />
      <p class="buttons pad">
        {moves.map((to) => <button type="button" key={to} class={to === 'rollback' ? 'danger' : ''} onClick={() => void press(to)}>{to === 'promote' && stage + 1 === stages.length ? 'Done' : MOVES[to]}</button>)}
      </p>
    </>
  );
}

export function Rollouts({ policyId, turn, onMoved }: { policyId: string; turn: number; onMoved: () => void }): JSX.Element | null {
  const rollouts = useGet<Rollout[]>(`/api/rollouts?policy=${encodeURIComponent(policyId)}`, EVERY_MS);
  const [latest, ...rest] = rollouts.value.data ?? [];
  const where = latest && `${latest.id} ${latest.state}`;
  useEffect(() => rollouts.again(), [turn]);
  // It may have gone back to the revision before, which is a new one.
  useEffect(() => {
    if (where) onMoved();
  }, [where]);
  if (!latest) return null;
  const before = isOpen(latest) ? rest : [latest, ...rest];
  return (
    <Panel title="Rollout" note={`revision ${latest.fromRevision} → ${latest.toRevision}, ${stateWords(latest.state)}`}>
      {isOpen(latest) && <Open latest={latest} again={rollouts.again} />}
      {before.length > 0 && (
        <ul class="rows" aria-label="Rollouts before">
          {before.slice(0, SHOWN).map((one) => (
            <li key={one.id}>
              <span class={`state ${one.state === 'done' ? 'ok' : 'warning'}`}>{one.fromRevision} → {one.toRevision}</span>
              <span class="what"><span>{stateWords(one.state)}{one.reason && `: ${one.reason}`}</span><small>{one.author}, {atFull(Date.parse(one.endedAt ?? one.startedAt))}</small></span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
