// Caches and batchers of some instances, as the SDK reports them: every ten seconds of the last minutes, and then each second.
import { until } from './server.mjs';

const value = (of) => (typeof of === 'number' ? { intValue: String(of) } : { stringValue: of });
const pairs = (of) => Object.entries(of).map(([key, one]) => ({ key, value: value(one) }));
const BEGAN_MS = 300_000;
const EVERY_MS = 10_000;

/** What only grows, so much a second. */
const grows = (name, unit, attributes, rate) => ({ name, unit, attributes, rate, kind: 'sum' });
/** What goes up and down, around a level. */
const holds = (name, unit, attributes, level) => ({ name, unit, attributes, level, kind: 'gauge' });
/** What is the same for the time being. */
const is = (name, unit, attributes, level) => ({ ...holds(name, unit, attributes, level), isSteady: true });
/** Values between bounds, each as often a second as is said. */
const spreads = (name, unit, attributes, bounds, rates) => ({ name, unit, attributes, bounds, rates, kind: 'histogram' });

function point(one, began, ms) {
  const nanos = (at) => `${Math.round(at)}000000`;
  const seconds = (ms - began) / 1000;
  const times = { startTimeUnixNano: nanos(began), timeUnixNano: nanos(ms), attributes: pairs(one.attributes) };
  if (one.kind === 'sum') return { ...times, asDouble: one.rate * seconds };
  if (one.kind === 'gauge') return { ...times, asDouble: one.isSteady ? one.level : one.level * (0.9 + 0.1 * Math.sin(seconds / 20)) };
  const counts = one.rates.map((rate) => Math.round(rate * seconds));
  const count = counts.reduce((sum, n) => sum + n, 0);
  const middle = counts.reduce((sum, n, at) => sum + n * (one.bounds[at] ?? one.bounds.at(-1)), 0);
  return { ...times, count: String(count), sum: middle, bucketCounts: counts.map(String), explicitBounds: one.bounds };
}

function metric(one, began, times) {
  const dataPoints = times.map((ms) => point(one, began, ms));
  const kinds = { sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints }, gauge: { dataPoints }, histogram: { aggregationTemporality: 2, dataPoints } };
  return { name: one.name, unit: one.unit, [one.kind]: kinds[one.kind] };
}

/** Sends the past at once, and goes on until what is returned is called. */
export async function report(server, service, metrics) {
  const began = Date.now() - BEGAN_MS;
  const resource = { attributes: pairs({ 'service.name': service, 'service.instance.id': `${service}-1` }) };
  const send = async (times) => {
    const body = { resourceMetrics: [{ resource, scopeMetrics: [{ scope: { name: 'fastbreak' }, metrics: metrics.map((one) => metric(one, began, times)) }] }] };
    const answer = await fetch(`${server.otlp}/v1/metrics`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    const { partialSuccess } = await answer.json();
    if (partialSuccess?.rejectedDataPoints > 0) throw new Error(partialSuccess.errorMessage);
  };
  await send(Array.from({ length: BEGAN_MS / EVERY_MS }, (_, n) => began + (n + 1) * EVERY_MS));
  const timer = setInterval(() => void send([Date.now()]).catch(() => undefined), 2000);
  return () => clearInterval(timer);
}

export const isSeen = async (server, query) => {
  const answer = await fetch(`${server.http}/prometheus/api/v1/query?query=${encodeURIComponent(query)}`);
  return (await answer.json()).data.result.length > 0;
};

const inForce = (id, revision) => (id ? { 'fastbreak.policy.id': id, 'fastbreak.policy.revision': revision } : {});

function batcher(name, rate, [id, revision] = []) {
  const at = { 'fastbreak.batch.name': name };
  const by = { ...at, ...inForce(id, revision) };
  const results = { done: 0.7, coalesced: 0.24, failed: 0.02, refused: 0.03, expired: 0.006, given_up: 0.004 };
  return [
    ...Object.entries(results).map(([result, share]) => grows('fastbreak.batch.items', '{item}', { ...by, 'fastbreak.batch.result': result }, rate * share)),
    grows('fastbreak.batch.calls', '{call}', by, rate / 25),
    grows('fastbreak.batch.calls_saved', '{call}', by, rate - rate / 25),
    grows('fastbreak.batch.sent_items', '{item}', by, rate * 0.72),
    grows('fastbreak.batch.retries', '{item}', by, rate * 0.02),
    grows('fastbreak.batch.wait_time', 's', by, rate * 0.72 * 0.0085),
    spreads('fastbreak.batch.call.size', '{item}', by, [1, 5, 10, 20, 50, 100], [0, 1, 5, 20, 9, 1, 0].map((n) => (n * rate) / 900)),
    spreads('fastbreak.batch.call.wait', 's', by, [0.001, 0.0025, 0.005, 0.01, 0.025], [1, 2, 6, 24, 3, 0].map((n) => (n * rate) / 900)),
    spreads('fastbreak.batch.call.duration', 's', by, [0.01, 0.025, 0.05, 0.1, 0.25], [1, 12, 18, 4, 1, 0].map((n) => (n * rate) / 900)),
    holds('fastbreak.batch.queued', '{item}', at, rate / 20),
    holds('fastbreak.batch.calls_active', '{call}', at, 2),
    ...(id ? [is('fastbreak.policy.revision', '{revision}', { ...at, 'fastbreak.policy.id': id }, revision)] : []),
  ];
}

/** A batcher of a busy shop, which runs a policy, and one that nobody set. */
export async function batchers(server) {
  const ends = [await report(server, 'shop', batcher('prices', 900, ['prices', 1])), await report(server, 'mailer', batcher('mails', 12))];
  await until('batchers are seen', () => isSeen(server, 'sum(rate({"fastbreak.batch.items"}[1m])) > 0'), 60_000);
  return () => ends.forEach((end) => end());
}

const MIB = 2 ** 20;
const CURVES = {
  ttl: [[0.25, 0.41, 6], [0.5, 0.58, 11], [1, 0.7, 20], [2, 0.82, 38], [4, 0.88, 66]],
  capacity: [[0.25, 0.52, 8], [0.5, 0.64, 16], [1, 0.7, 20], [2, 0.7, 20], [4, 0.7, 20]],
};

function cache(name, rate, { inUse: [id, revision] = [], isLayered = false, curves = {} } = {}) {
  const at = { 'fastbreak.cache.name': name };
  const by = (more = {}) => Object.fromEntries([...Object.entries({ ...at, ...inForce(id, revision) }), ...Object.entries(more).map(([key, one]) => [`fastbreak.cache.${key}`, one])]);
  const counts = (metric, unit, label, shares) => Object.entries(shares).map(([one, share]) => grows(`fastbreak.cache.${metric}`, unit, by({ [label]: one }), rate * share));
  const layered = [
    grows('fastbreak.cache.requests', '{request}', by({ result: 'hit', level: 'l2' }), rate * 0.2),
    ...['absent', 'expired', 'invalidated'].map((cause, n) => grows('fastbreak.cache.misses', '{request}', by({ level: 'l2', 'miss.cause': cause }), rate * [0.06, 0.03, 0.005][n])),
    ...counts('l2.failures', '{call}', 'reason', { failed: 0.002, left_alone: 0.001 }),
  ];
  return [
    grows('fastbreak.cache.requests', '{request}', by({ result: 'hit', level: 'l1' }), rate * 0.7),
    grows('fastbreak.cache.requests', '{request}', by({ result: 'miss' }), rate * (isLayered ? 0.1 : 0.3)),
    ...['cold', 'expired', 'evicted', 'invalidated'].map((cause, n) => grows('fastbreak.cache.misses', '{request}', by({ level: 'l1', 'miss.cause': cause }), rate * [0.06, 0.18, 0.04, 0.02][n])),
    ...(isLayered ? layered : []),
    ...counts('loads', '{load}', 'result', { found: 0.07, none: 0.01, failed: 0.002 }),
    spreads('fastbreak.cache.load.duration', 's', by(), [0.005, 0.01, 0.025, 0.05, 0.1, 0.25], [0.1, 0.25, 0.4, 0.15, 0.08, 0.02, 0].map((share) => share * rate * 0.082)),
    ...counts('stale', '{request}', 'reason', { revalidate: 0.012, load_failed: 0.001 }),
    grows('fastbreak.cache.coalesced', '{request}', by(), rate * 0.015),
    grows('fastbreak.cache.evictions', '{entry}', by(), rate * 0.03),
    grows('fastbreak.cache.invalidations', '{target}', by(), rate * 0.01),
    ...counts('writes', '{write}', 'result', { done: 0.05, failed: 0.001 }),
    holds('fastbreak.cache.entries', '{entry}', at, 42_000),
    holds('fastbreak.cache.usage', 'By', at, 20 * MIB),
    is('fastbreak.cache.limit', 'By', at, 32 * MIB),
    ...Object.entries(curves).flatMap(([change, points]) => points.flatMap(([factor, ratio, size]) => {
      const of = { ...at, 'fastbreak.cache.curve.change': change, 'fastbreak.cache.curve.factor': String(factor) };
      return [is('fastbreak.cache.curve.hit_ratio', '1', of, ratio), is('fastbreak.cache.curve.usage', 'By', of, size * MIB)];
    })),
    ...(curves.ttl ? [is('fastbreak.cache.curve.sample', '{request}', at, 48_210)] : []),
    ...(id ? [is('fastbreak.policy.revision', '{revision}', { ...at, 'fastbreak.policy.id': id }, revision)] : []),
  ];
}

/** A cache of two levels, which runs a policy and is watched, and a small one in memory. */
export async function caches(server) {
  const ends = [
    await report(server, 'shop', cache('users', 1200, { inUse: ['users', 2], isLayered: true, curves: CURVES })),
    await report(server, 'mailer', cache('templates', 3)),
  ];
  await until('caches are seen', () => isSeen(server, 'sum(rate({"fastbreak.cache.requests", fastbreak_cache_name="users"}[1m])) > 0'), 60_000);
  return () => ends.forEach((end) => end());
}
