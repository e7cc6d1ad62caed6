// Overrides and warmings, as they are written and told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainly } from '../src/data/check.ts';
import { ApiError } from '../src/data/fetch.ts';
import { adjustmentWords, type EndedOverride, endWords, entriesOf, lastedWords, newOverride, saysNothing } from '../src/data/overrides.ts';
import type { Policy } from '../src/data/policy.ts';
import { valueOf, valueText } from '../src/data/policy-words.ts';
import { write } from '../src/data/policy.ts';
import { atClock, atFull } from '../src/data/time.ts';
import { answeredWords, countWords, keysOf, stateOf, warm, type Warmed, warmedWords } from '../src/data/warmings.ts';

const cache: Policy = { id: 'users', name: 'Users', cache: {} };
const batch: Policy = { id: 'prices', name: 'Prices', batch: { rate: { perSecond: 50 } } };

test('an override changes what its policy has, and lasts', () => {
  const titles = (policy: Policy): string[] => entriesOf(policy).map(({ title }) => title);
  assert.deepEqual(titles(cache), ['Lives ×', 'Serve stale for', 'How long']);
  assert.deepEqual(titles(batch), ['Rate ×', 'Batches at once ×', 'How long']);
  assert.deepEqual(titles({ ...batch, batch: {} }), ['Batches at once ×', 'How long'], 'without a rate there is none to shrink');
});

test('an override is sent as it is written', () => {
  const [factor, , lasts] = entriesOf(cache);
  const wanted = newOverride(cache);
  assert.deepEqual(wanted, { policyId: 'users', adjustment: {}, lease: '10m' });
  assert.deepEqual([{ maxLease: '5m' }, { maxLease: '2h' }, {}].map((bounds) => newOverride({ ...cache, bounds }).lease), ['5m', '10m', '10m'], 'no longer than it may');
  assert.ok(saysNothing(wanted));
  const set = write(wanted, factor!.path.split('.'), valueOf(factor!, ' 2.5 '));
  assert.deepEqual(set, { policyId: 'users', adjustment: { ttlFactor: 2.5 }, lease: '10m' });
  assert.ok(!saysNothing(set));
  assert.deepEqual(write(set, factor!.path.split('.'), valueOf(factor!, '')), wanted);
  assert.equal(valueOf(factor!, 'twice'), 'twice', 'the server is to say what is wrong');
  assert.equal(valueText(lasts!, wanted.lease), '10m');
});

test('an override says what it does, why it ended, and from when to when', () => {
  assert.equal(adjustmentWords({ ttlFactor: 2, serveStale: '1m30s' }), 'lives × 2, serves stale for 1 min 30 s');
  assert.equal(adjustmentWords({ rateFactor: 0.5, concurrencyFactor: 0.1 }), 'rate × 0.5, batches at once × 0.1');
  const one = { createdAt: '2026-05-01T12:00:00Z', endedAt: '2026-05-01T12:05:00Z', endAuthor: '', endReason: 'its lease is over' } as EndedOverride;
  const [from, to] = [Date.parse(one.createdAt), Date.parse(one.endedAt)];
  assert.equal(endWords(one), 'its lease is over');
  assert.equal(endWords({ ...one, endAuthor: 'Ada', endReason: '' }), 'ended by Ada');
  assert.equal(endWords({ ...one, endAuthor: 'alerting', endReason: 'it fires no more' }), 'alerting: it fires no more');
  assert.equal(lastedWords(one), `${atFull(from)} to ${atClock(to)}`);
  const long = { ...one, endedAt: '2026-05-03T12:00:00Z' };
  assert.equal(lastedWords(long), `${atFull(from)} to ${atFull(Date.parse(long.endedAt))}`);
});

test('a refusal is told in the words of people', () => {
  assert.equal(plainly(new ApiError(400, 'lease: must be 1s to 1h, not 2h; adjustment.ttlFactor: invalid type: string "x", expected f64')).message, 'lease must be 1s to 1h, not 2h; adjustment.ttlFactor must be a number');
  assert.equal(plainly(new Error('no')).message, 'no');
});

test('keys are one a line, each once', () => {
  assert.deepEqual(keysOf(' a,b \r\n\n c\na,b\n'), ['a,b', 'c']);
  assert.equal(countWords(1200), `${new Intl.NumberFormat().format(1200)} of at most ${new Intl.NumberFormat().format(10_000)} keys`);
});

test('each instance says what it has loaded, or that it has not answered', () => {
  const of = (loaded: number, failed: number, done = true): Warmed => ({ service: 'shop', instance: 'a', done, loaded, failed });
  assert.deepEqual([of(0, 0, false), of(3, 0), of(2, 1), of(0, 3)].map(stateOf), ['waits', 'loaded', 'some', 'none']);
  assert.equal(warmedWords(of(0, 0, false), 1000), 'loads, or has not answered yet');
  assert.equal(warmedWords(of(0, 0, false), 600_000), 'no answer for 10 min: it may be away');
  assert.equal(warmedWords(of(0, 3), 1000), 'no such key space, or its source gave none');
  assert.equal(answeredWords([of(1, 0), of(0, 0, false)]), '1 of 2 instances have answered');
  assert.equal(answeredWords([of(1, 0)]), 'the instance has answered');
});

test('when nobody is there to load keys, that is what is said', async (t) => {
  const answer = (status: number, detail: string) => async () => new Response(JSON.stringify({ detail }), { status });
  const wanted = { service: ' shop* ', keySpace: 'users', keys: 'a' };
  const asked = t.mock.method(globalThis, 'fetch', answer(404, 'there is no instance of "shop*" that watches policies'));
  await assert.rejects(warm(wanted), { message: 'No instance of “shop*” is connected: there is nobody to load keys.' });
  assert.equal(asked.mock.calls[0]?.arguments[1]?.body, JSON.stringify({ service: 'shop*', keySpace: 'users', keys: ['a'] }));
  await assert.rejects(warm({ ...wanted, service: '' }), { message: 'No instance of any service is connected: there is nobody to load keys.' });
  asked.mock.mockImplementation(answer(400, 'keySpace: must be 1 to 200, not 300'));
  await assert.rejects(warm(wanted), { message: 'keySpace: must be 1 to 200, not 300' });
});
