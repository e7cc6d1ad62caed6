// Traces of a shop that pays: services that call each other, a database, a cache, a queue; some slow, some failing, one huge.
import { randomBytes } from 'node:crypto';

const KINDS = { internal: 1, server: 2, client: 3, producer: 4, consumer: 5 };
const SENT_AT_ONCE = 10_000;

const value = (of) => (typeof of === 'number' ? { intValue: String(of) } : { stringValue: String(of) });
const pairs = (of) => Object.entries(of).map(([key, text]) => ({ key, value: value(text) }));

/** A trace that is being written down; times are milliseconds from its start. */
class Trace {
  constructor(startMs) {
    this.id = randomBytes(16).toString('hex');
    this.start = BigInt(Math.round(startMs * 1e6));
    this.spans = new Map();
  }

  /** Notes a span of `service`, and tells its id. */
  span(service, name, [from, to], { parent = '', kind = 'internal', attributes = {}, error = '', events = [] } = {}) {
    const spanId = randomBytes(8).toString('hex');
    const at = (ms) => String(this.start + BigInt(Math.round(ms * 1e6)));
    const list = this.spans.get(service) ?? [];
    this.spans.set(service, list);
    list.push({
      traceId: this.id,
      spanId,
      parentSpanId: parent,
      name,
      kind: KINDS[kind],
      startTimeUnixNano: at(from),
      endTimeUnixNano: at(to),
      attributes: pairs(attributes),
      events: events.map(([ms, called, of]) => ({ timeUnixNano: at(ms), name: called, attributes: pairs(of) })),
      status: error ? { code: 2, message: error } : {},
    });
    return spanId;
  }

  async send(server) {
    for (const [service, spans] of this.spans) {
      for (let from = 0; from < spans.length; from += SENT_AT_ONCE) {
        const resource = { attributes: pairs({ 'service.name': service, 'service.version': '2.3.0', 'deployment.environment.name': 'e2e' }) };
        const body = { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'e2e', version: '1' }, spans: spans.slice(from, from + SENT_AT_ONCE) }] }] };
        const answer = await fetch(`${server.otlp}/v1/traces`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
        if (!answer.ok) throw new Error(`traces: ${answer.status} ${await answer.text()}`);
      }
    }
    return this.id;
  }
}

/** Somebody pays: `slow` when the bank is asked from afar, `error` when it refuses. */
export function payment(at, { slow = false, error = false, region = 'eu' } = {}) {
  const trace = new Trace(at);
  const [bank, k] = [slow ? 900 : 60, Math.random() * 20];
  const end = bank + 90 + k;
  const failed = error ? 'card refused' : '';
  const root = trace.span('web', 'POST /pay', [0, end], { kind: 'server', attributes: { 'http.request.method': 'POST', 'http.route': '/pay', 'cloud.region': region, 'http.response.status_code': error ? 502 : 200 }, error: failed });
  trace.span('web', 'GET session', [1, 3], { parent: root, kind: 'client', attributes: { 'db.system.name': 'redis', 'server.address': 'sessions' } });
  const call = trace.span('web', 'POST', [4, end - 2], { parent: root, kind: 'client', attributes: { 'http.request.method': 'POST' }, error: failed });
  const pay = trace.span('payments', 'POST /charge', [6, end - 4], { parent: call, kind: 'server', attributes: { 'http.request.method': 'POST', 'http.route': '/charge', 'cloud.region': region, 'app.card': slow ? 'amex' : 'visa' }, error: failed });
  trace.span('payments', 'SELECT accounts', [8, 18 + k], { parent: pay, kind: 'client', attributes: { 'db.system.name': 'postgresql', 'db.namespace': 'ledger', 'db.operation.name': 'SELECT', 'db.collection.name': 'accounts' } });
  const events = error ? [[22 + bank, 'exception', { 'exception.type': 'CardRefused', 'exception.message': 'the bank answered 402', 'exception.stacktrace': 'CardRefused: the bank answered 402\n    at charge (bank.ts:41:11)\n    at pay (pay.ts:17:5)' }]] : [];
  trace.span('payments', 'POST bank', [20 + k, 22 + k + bank], { parent: pay, kind: 'client', attributes: { 'server.address': 'bank.example', 'http.request.method': 'POST', 'http.response.status_code': error ? 402 : 200 }, error: failed, events });
  if (!error) {
    const sent = trace.span('payments', 'send receipts', [26 + k + bank, 32 + k + bank], { parent: pay, kind: 'producer', attributes: { 'messaging.system': 'kafka', 'messaging.destination.name': 'receipts' } });
    const got = trace.span('mailer', 'process receipts', [40 + k + bank, 70 + k + bank], { parent: sent, kind: 'consumer', attributes: { 'messaging.system': 'kafka', 'messaging.destination.name': 'receipts' } });
    trace.span('mailer', 'render', [44 + k + bank, 60 + k + bank], { parent: got });
  }
  return trace;
}

/** One trace of `count` spans, as a job that goes through many items makes it. */
export function huge(at, count) {
  const trace = new Trace(at);
  const root = trace.span('batch', 'import', [0, count / 10], { kind: 'internal', error: 'one item failed' });
  let made = 1;
  for (let chunk = 0; made < count; chunk += 1) {
    const from = made / 10;
    const of = Math.min(100, count - made);
    const parent = trace.span('batch', `chunk ${chunk % 50}`, [from, from + of / 10], { parent: root, attributes: { chunk } });
    made += 1;
    for (let n = 1; n < of; n += 1, made += 1) {
      const [service, name] = n % 3 ? ['store', 'INSERT items'] : ['batch', 'parse'];
      trace.span(service, name, [from + n / 10, from + n / 10 + 0.02 + (n % 7) / 100], { parent, kind: n % 3 ? 'client' : 'internal', error: n === 50 && chunk % 40 === 0 ? 'duplicate key' : '' });
    }
  }
  return trace;
}

/** Many payments of the last seconds; tells a slow one and a failed one. */
export async function payments(server, count = 40) {
  const now = Date.now();
  const ids = { slow: '', error: '' };
  for (let n = 0; n < count; n += 1) {
    const [slow, error] = [n % 8 === 3, n % 10 === 4];
    const id = await payment(now - 2000 - n * 900, { slow, error, region: slow ? 'us' : n % 4 ? 'eu' : 'us' }).send(server);
    if (slow) ids.slow = id;
    if (error) ids.error = id;
  }
  return ids;
}
