// The fleet, rollouts and invalidations, as they are told and asked for.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Instance, spread, standings, summary } from '../src/data/fleet.ts';
import { convergenceWords, type Invalidation, invalidationWords, namesOf } from '../src/data/invalidations.ts';
import type { Policy } from '../src/data/policy.ts';
import { guardWords, newPlan, planned, proposals } from '../src/data/rollouts.ts';

function instance(name: string, running: number, more: { connected?: boolean; error?: string } = {}): Instance {
  const { connected = true, error = '' } = more;
  return { service: 'shop', instance: name, connected, policies: [{ policyId: 'users', assigned: 3, running, behind: running !== 3, error, canary: false, overrideId: '' }, { policyId: 'other', assigned: 1, running: 1, error: '', canary: false, overrideId: '' }] } as unknown as Instance;
}

test('what needs a look comes first, and what was lost last', () => {
  const found = standings([instance('a', 3), instance('b', 2, { connected: false }), instance('c', 2), instance('d', 2, { error: 'too long' }), instance('e', 0)], 'users');
  assert.deepEqual(found.map(({ instance: { instance: name }, state, running }) => [name, state, running]), [['d', 'refused', 2], ['c', 'waits', 2], ['e', 'waits', null], ['a', 'runs', 3], ['b', 'away', 2]]);
  assert.equal(summary(found), '1 of 5 run what they are to, 1 refused it, 2 not there yet, 1 away');
  assert.deepEqual(spread(found), [[3, 1], [2, 3]]);
  assert.deepEqual(standings([instance('a', 3)], 'nobody'), []);
});

test('a plan is sent as it is written, and its guards are of what the policy is for', () => {
  const policy: Policy = { id: 'users', name: 'Users', selector: { target: 'us.er*' }, cache: {} };
  const plan = { ...newPlan(policy), percents: '5%, 50,', bake: '1m', action: 'pause' as const };
  const { stages, guards } = planned(plan);
  assert.deepEqual(stages, [{ percent: 5, bake: '1m' }, { percent: 50, bake: '1m' }]);
  const [guard] = guards as { name: string; query: string; minRatio: number; action: string }[];
  assert.deepEqual([guards.length, guard?.name, guard?.minRatio, guard?.action], [1, 'Hit ratio', 0.9, 'pause']);
  assert.equal(guard?.query, 'sum(rate({"fastbreak.cache.requests", $group, fastbreak_cache_name=~"us\\\\.er.*", fastbreak_cache_result="hit"}[1m])) / sum(rate({"fastbreak.cache.requests", $group, fastbreak_cache_name=~"us\\\\.er.*"}[1m]))');
  assert.deepEqual(planned({ ...plan, percents: 'few' }).stages, [{ percent: 'few', bake: '1m' }], 'the server is to say what is wrong');
  assert.ok(proposals({ id: 'b', name: 'b', batch: {} }).every(({ query }) => query.includes('$group')));
  assert.equal(guardWords({ name: 'x', query: 'y', minRatio: 0.9, maxValue: 3 }), 'at least 0.9 × others, at most 3');
});

test('an invalidation says what it is of and how far it has come', () => {
  assert.deepEqual(namesOf(' user-7,user-9\n, '), ['user-7', 'user-9']);
  const one = { sequence: 1, service: '', keySpace: 'users', keys: ['a', 'b', 'c', 'd'], tags: ['t'], prefixes: [], all: false, converged: false, createdAt: '2026-05-01T12:00:00Z' } as unknown as Invalidation;
  assert.equal(invalidationWords(one), 'keys a, b, c and 1 more; tags t of users, every service');
  const now = Date.parse('2026-05-01T12:00:05Z');
  assert.equal(convergenceWords(one, now), 'on its way for 5 s');
  assert.equal(convergenceWords({ ...one, converged: true, convergedAfterS: 0.12 }, now), 'everywhere after 120 ms');
});
