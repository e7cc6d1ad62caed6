// Policies: fields by path, edits on top of other edits, words, and what a refusal names.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError } from '../src/data/fetch.ts';
import { GROUPS_OF } from '../src/data/policy-fields.ts';
import { parseBytes, periodWords, sentences, sideOf, titleOf, valueOf, valueText } from '../src/data/policy-words.ts';
import { candidates, faultsOf, glob, isForWords, isSame, merge, newPolicy, type Policy, read, write } from '../src/data/policy.ts';

const policy = (more: Partial<Policy> = {}): Policy => ({ id: 'users', name: 'Users', cache: { l1Ttl: '1m' }, ...more });
const fieldOf = (path: string) => Object.values(GROUPS_OF).flat().flatMap(({ fields }) => fields).find((field) => field.path === path)!;

test('a field is set and taken away by its path, and leaves nothing empty behind', () => {
  const set = write(policy(), ['cache', 'retry', 'attempts'], 5);
  assert.equal(read(set, ['cache', 'retry', 'attempts']), 5);
  assert.deepEqual(write(set, ['cache', 'retry', 'attempts'], undefined), policy());
  assert.deepEqual(write(policy(), ['cache', 'l1Ttl'], undefined).cache, {}, 'a cache without a word is still a cache');
  assert.ok(isSame(set, write(set, ['selector', 'labels'], {})), 'what is empty says nothing');
  assert.ok(!isSame(newPolicy('cache', '', ''), newPolicy('batch', '', '')));
});

test('an edit goes on top of what another wrote, and both are told where they meet', () => {
  const base = policy({ cache: { l1Ttl: '1m', grace: '5s' } });
  const mine = policy({ cache: { l1Ttl: '2m', grace: '5s', warmKeys: 10 }, selector: { labels: { 'k8s.zone': 'a' } } });
  const theirs = policy({ cache: { l1Ttl: '3m' }, name: 'All users' });
  const { policy: merged, clashes } = merge(base, mine, theirs);
  assert.deepEqual(merged, { ...policy({ name: 'All users' }), cache: { l1Ttl: '2m', warmKeys: 10 }, selector: { labels: { 'k8s.zone': 'a' } } });
  assert.deepEqual(clashes, ['cache.l1Ttl']);
  assert.deepEqual(merge(base, base, theirs), { policy: theirs, clashes: [] });
  const gone = merge(base, policy({ cache: { l1Ttl: '1m' } }), policy({ cache: { l1Ttl: '1m', grace: '5s', lease: '1s' } }));
  assert.deepEqual(gone.policy.cache, { l1Ttl: '1m', lease: '1s' }, 'what was taken away is taken away');
});

test('a refusal names each field once', () => {
  const refusal = new ApiError(400, 'cache.l1Ttl: must be 0s to 30d, not 60d; name: must have 1 to 200 bytes, not 0');
  assert.deepEqual(faultsOf(refusal), { 'cache.l1Ttl': 'must be 0s to 30d, not 60d', name: 'must have 1 to 200 bytes, not 0' });
  const unread = new ApiError(400, 'batch.maxWait: invalid value: string "5x", expected a span of time such as 30s, 5m or 1h30m');
  assert.deepEqual(faultsOf(unread), { 'batch.maxWait': 'must be a span of time such as 30s, 5m or 1h30m' });
  assert.deepEqual(faultsOf(new ApiError(400, 'cache.warmKeys: invalid type: string "x", expected u32')), { 'cache.warmKeys': 'must be a whole number' });
  assert.deepEqual(faultsOf(new ApiError(400, 'stages[0].percent: invalid type: string "few", expected f64 at line 1 column 239')), { 'stages[0].percent': 'must be a number' });
  assert.deepEqual(faultsOf(new ApiError(409, 'the policy "a": is at revision 5')), {});
});

test('the longest name counts, and what is off or of another kind does not', () => {
  const of = (id: string, selector: Policy['selector'], more: Partial<Policy> = {}): Policy => ({ id, name: id, cache: {}, ...(selector ? { selector } : {}), ...more });
  const all = [of('all', {}), of('u', { target: 'us*' }), of('users', { service: 'shop', target: 'users' }), of('off', { target: 'users' }, { enabled: false }), { id: 'b', name: 'b', batch: {} }];
  const ids = (service: string, target: string): string[] => candidates(all, 'cache', service, target).map(({ id }) => id);
  assert.deepEqual(ids('shop', 'users'), ['users', 'u', 'all']);
  assert.deepEqual(ids('cart', 'users'), ['u', 'all']);
  assert.deepEqual(ids('cart', 'carts'), ['all']);
  for (const [pattern, text, expected] of [['', 'x', true], ['shop', 'shopping', false], ['shop*', 'shopping', true], ['a*b*c', 'a__b__c', true], ['a.c', 'abc', false], ['*-api', 'shop-api-2', false]] as const) {
    assert.equal(glob(pattern, text), expected, `${pattern} ${text}`);
  }
  assert.equal(isForWords(of('x', { service: 'shop', target: 'us*', labels: { region: 'eu' } })), 'key space us* of shop, with region=eu');
  assert.equal(isForWords({ id: 'b', name: 'b', batch: {} }), 'every batcher of every service');
});

test('values are written and read in words, and nothing is rounded', () => {
  assert.equal(periodWords('1m30s'), '1 min 30 s');
  assert.equal(periodWords('250ms'), '250 ms');
  for (const [text, bytes] of [['64 MiB', 67_108_864], ['1.5gib', 1_610_612_736], ['1024', 1024], ['10 B', 10], ['64 MB', null], ['', null]] as const) assert.equal(parseBytes(text), bytes, text);
  const memory = fieldOf('cache.l1MaxBytes');
  assert.equal(valueText(memory, 64 * 2 ** 20), '64 MiB');
  assert.equal(valueText(memory, 1_000_001), '1000001 B');
  assert.equal(valueOf(memory, '64 Mi'), '64 Mi', 'the server is to say what is wrong');
  assert.equal(valueOf(fieldOf('cache.warmKeys'), '10 000'), 10_000);
  assert.equal(valueOf(fieldOf('cache.warmKeys'), ' '), undefined);
  assert.equal(valueOf(fieldOf('cache.l1Ttl'), ' 5m '), '5m');
});

test('a policy says what it is, and what nobody wrote as by default', () => {
  const said = (of: Policy): Map<string, [string, boolean]> => new Map(sentences(of).flatMap((group) => group.said.map((one) => [one.path, [one.text, one.isUsual]])));
  const cache = said(policy({ cache: { l1Ttl: '2m', l2Ttl: '0s', strategy: 'aside', ttlJitter: 0.25 } }));
  assert.deepEqual(cache.get('cache.l1Ttl'), ['An entry is fresh in memory for 2 min.', false]);
  assert.deepEqual(cache.get('cache.l2Ttl'), ['Nothing is kept in Redis.', false]);
  assert.deepEqual(cache.get('cache.ttlJitter'), ['Each life is shortened by up to 25%, so that not all end at once.', false]);
  assert.deepEqual(cache.get('cache.l1MaxBytes'), ['Memory holds at most 64 MiB.', true]);
  assert.equal(cache.get('cache.sampleRatio')?.[0], '1% of the keys are watched for the miss-ratio curve.');
  assert.ok(!cache.has('cache.writeQueue'), 'only what is written behind waits');
  assert.ok(said(policy({ cache: { strategy: 'behind' } })).has('cache.writeQueue'));
  const batch = said({ id: 'b', name: 'b', batch: { rate: { perSecond: 5 }, deduplicate: false } });
  assert.equal(batch.get('batch.deduplicate')?.[0], 'Equal items are each asked for.');
  assert.equal(batch.get('batch.rate.shared')?.[0], 'The limit is for each instance.');
  assert.equal(said({ id: 'b', name: 'b', batch: {} }).get('batch.rate.perSecond')?.[0], 'Calls are not limited.');
});

test('a change is told by what the field is called', () => {
  assert.equal(titleOf('cache.l1Ttl'), 'Fresh in memory for');
  assert.equal(titleOf('selector.labels.k8s.zone'), 'Label k8s.zone');
  assert.equal(sideOf('cache.l1Ttl', ''), '1 min (default)');
  assert.equal(sideOf('cache.l1MaxBytes', '134217728'), '128 MiB');
  assert.equal(sideOf('batch.rate.perSecond', ''), 'none');
  assert.equal(sideOf('selector.service', ''), 'any');
});
