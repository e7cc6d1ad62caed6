// Which instance runs which revision of a policy, as each has said itself.
import type { Schemas } from './fetch.ts';

export type Instance = Schemas['InstanceView'];

export type State = 'runs' | 'waits' | 'refused' | 'away';

/** How one instance stands to one policy. */
export interface Standing {
  instance: Instance;
  assigned: number;
  running: number | null;
  error: string;
  isCanary: boolean;
  overrideId: string;
  state: State;
}

const WORDS: Record<State, string> = { runs: 'runs it', waits: 'not there yet', refused: 'refused it', away: 'away' };
export const stateWords = (state: State): string => WORDS[state];

function stateOf(connected: boolean, behind: boolean, error: string): State {
  if (error) return 'refused';
  if (!connected) return 'away';
  return behind ? 'waits' : 'runs';
}

/** Those that have the policy, what needs a look first. */
export function standings(instances: Instance[], policyId: string): Standing[] {
  const order: State[] = ['refused', 'waits', 'runs', 'away'];
  const found = instances.flatMap((instance) => instance.policies.filter((one) => one.policyId === policyId).map((one): Standing => {
    const { assigned, error, overrideId } = one;
    return { instance, assigned, running: one.running || null, error, isCanary: one.canary, overrideId, state: stateOf(instance.connected, one.behind, error) };
  }));
  return found.sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.instance.instance.localeCompare(b.instance.instance));
}

/** `12 of 14 run it, 1 refused it, 1 away`. */
export function summary(found: Standing[]): string {
  const count = (state: State): number => found.filter((one) => one.state === state).length;
  const rest = (['refused', 'waits', 'away'] as const).filter((state) => count(state) > 0).map((state) => `${count(state)} ${WORDS[state]}`);
  return [`${count('runs')} of ${found.length} run what they are to`, ...rest].join(', ');
}

/** Revisions that are run, the newest first, with how many run each. */
export function spread(found: Standing[]): [number, number][] {
  const counts = new Map<number, number>();
  for (const { running } of found) if (running !== null) counts.set(running, (counts.get(running) ?? 0) + 1);
  return [...counts.entries()].sort(([a], [b]) => b - a);
}
