// Caches and batchers of some instances, as the SDK reports them: every ten seconds of the last minutes, and then each second.
import { until } from './server.mjs';

const value = (of) => (typeof of === 'number' ? { intValue: String(of) } : { stringValue: of });
const pairs = (of) => Object.entries(of).map(([key, one]) => ({ key, value: value(one) }));
const BEGAN_MS = 300_000;
const EVERY_MS = 10_000;

/** `[name, unit, attributes, total at a second]` for what only grows, `now` for what goes up and down. */
export const grows = (name, unit, attributes, rate) => ({ name, unit, attributes, at: (s) => rate * s, isSum: true });
export const holds = (name, unit, attributes, level) => ({ name, unit, attributes, at: (s) => level * (0.9 + 0.1 * Math.sin(s / 20)), isSum: false });

function metric({ name, unit, attributes, at, isSum }, began, times) {
  const nanos = (ms) => `${Math.round(ms)}000000`;
  const point = (ms) => ({ startTimeUnixNano: nanos(began), timeUnixNano: nanos(ms), asDouble: at((ms - began) / 1000), attributes: pairs(attributes) });
  const dataPoints = times.map(point);
  return { name, unit, ...(isSum ? { sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints } } : { gauge: { dataPoints } }) };
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

/** A batcher of a busy shop, which runs a policy, and one that nobody set. */
export async function batchers(server) {
  const of = (name, more = {}) => ({ 'fastbreak.batch.name': name, ...more });
  const policy = { 'fastbreak.policy.id': 'prices', 'fastbreak.policy.revision': 1 };
  const batcher = (name, rate, more) => [
    ...[['done', 0.7], ['coalesced', 0.24], ['failed', 0.02], ['refused', 0.03], ['expired', 0.006], ['given_up', 0.004]].map(([result, share]) => grows('fastbreak.batch.items', '{item}', of(name, { 'fastbreak.batch.result': result, ...more }), rate * share)),
    grows('fastbreak.batch.calls', '{call}', of(name, more), rate / 25),
    grows('fastbreak.batch.calls_saved', '{call}', of(name, more), rate - rate / 25),
    grows('fastbreak.batch.sent_items', '{item}', of(name, more), rate * 0.72),
    grows('fastbreak.batch.retries', '{item}', of(name, more), rate * 0.02),
    grows('fastbreak.batch.wait_time', 's', of(name, more), rate * 0.72 * 0.0085),
    holds('fastbreak.batch.queued', '{item}', of(name), rate / 20),
    holds('fastbreak.batch.calls_active', '{call}', of(name), 2),
  ];
  const ends = [await report(server, 'shop', batcher('prices', 900, policy)), await report(server, 'mailer', batcher('mails', 12, {}))];
  await until('batchers are seen', () => isSeen(server, 'sum(rate({"fastbreak.batch.items"}[1m])) > 0'), 60_000);
  return () => ends.forEach((end) => end());
}
