// Stands in for alerting while the server has none: answers its agreed API from memory, inside the browser's requests.
// `fakeAlerts` asks the server first and does nothing when it answers for itself.

const minutes = (n) => new Date(Date.now() - n * 60_000).toISOString();

function rules() {
  const rule = (id, name, condition, threshold, severity, more = {}) => ({
    id, name, condition, threshold, severity, enabled: true, cooldownMinutes: 5, notificationChannels: ['email', 'slack'], for: '1m', revision: 1, origin: 'default',
    createdAt: minutes(9000), updatedAt: minutes(9000),
    health: { state: 'ok', lastEvaluationAt: minutes(0.1), durationSeconds: 0.004, error: null }, alerts: { pending: 0, firing: 0 }, ...more,
  });
  return [
    rule('high_response_time', 'High response time', 'p95ResponseTime > threshold', 300, 'critical', { alerts: { pending: 0, firing: 1 } }),
    rule('high_error_rate', 'High error rate', 'errorRate > threshold', 5, 'critical'),
    rule('low_cache_hits', 'Low cache hit rate', 'cacheHitRate < threshold', 70, 'warning', { alerts: { pending: 0, firing: 1 } }),
    rule('db_pool', 'Database pool nearly used up', 'dbPoolUsage > threshold', 85, 'warning', { alerts: { pending: 1, firing: 0 } }),
    rule('ai_confidence', 'AI confidence drops', 'aiConfidence < threshold', 0.6, 'info', { enabled: false, health: { state: 'no_data', lastEvaluationAt: minutes(1), durationSeconds: 0.002, error: null } }),
    rule('disk', 'Disk nearly full', 'diskUsage > threshold', 90, 'critical', { health: { state: 'error', lastEvaluationAt: minutes(1), durationSeconds: 0.002, error: 'more than 10000 series' } }),
  ];
}

function alert(id, ruleId, ruleName, severity, state, more = {}) {
  return {
    id, fingerprint: `f${id}`, ruleId, ruleName, condition: 'p95ResponseTime > threshold', state, severity, labels: { service_name: 'storefront', severity }, annotations: { summary: `${ruleName} at storefront` },
    value: 412.5, threshold: 300, unit: 'ms', peak: 640.2, pendingSince: minutes(14), startsAt: state === 'pending' ? null : minutes(13), endsAt: null, resolvedReason: null, lastEvaluationAt: minutes(0.1), acknowledged: null, suppressed: [], ...more,
  };
}

function delivery(id, state, receiver, more = {}) {
  return {
    id, notificationId: `n${id}`, receiver, reason: 'firing', severity: 'critical', groupKey: '{}', groupLabels: {}, alerts: ['f1'], state, attempts: 1, createdAt: minutes(12.9), endedAt: minutes(12.8), nextAttemptAt: null,
    log: [{ number: 1, beganAt: minutes(12.9), endedAt: minutes(12.89), outcome: state === 'sent' ? 'sent' : 'failed', status: state === 'sent' ? 200 : 500, detail: state === 'sent' ? 'ok' : 'the receiver answered 500' }], ...more,
  };
}

/** Alerting's state, one for each browser context. */
export function newState() {
  return {
    rules: rules(),
    alerts: [
      alert('1', 'high_response_time', 'High response time', 'critical', 'firing'),
      alert('2', 'low_cache_hits', 'Low cache hit rate', 'warning', 'firing', { value: 31.4, threshold: 70, unit: '%', condition: 'cacheHitRate < threshold', labels: { service_name: 'recommender' }, startsAt: minutes(47), acknowledged: { by: 'Ada', at: minutes(40), note: 'warming the cache' } }),
      alert('3', 'db_pool', 'Database pool nearly used up', 'warning', 'pending', { value: 88, threshold: 85, unit: '%', labels: { service_name: 'checkout' } }),
    ],
    past: [
      alert('4', 'high_error_rate', 'High error rate', 'critical', 'resolved', { unit: '%', value: 0.2, threshold: 5, peak: 12.4, startsAt: minutes(50), endsAt: minutes(44), resolvedReason: 'recovered', labels: { service_name: 'checkout' } }),
      alert('5', 'high_response_time', 'High response time', 'critical', 'resolved', { startsAt: minutes(55), endsAt: minutes(51), resolvedReason: 'recovered', acknowledged: { by: 'Grace', at: minutes(54), note: '' } }),
    ],
    silences: [
      { id: 's1', matchers: [{ name: 'service_name', op: '=', value: 'recommender' }, { name: 'severity', op: '=~', value: 'warning|info' }], startsAt: minutes(30), endsAt: minutes(-90), createdBy: 'Ada', comment: 'model roll-out', state: 'active', affected: 1 },
      { id: 's2', matchers: [{ name: 'service_name', op: '=', value: 'checkout' }], startsAt: minutes(600), endsAt: minutes(500), createdBy: 'Grace', comment: 'migration', state: 'expired', affected: 0 },
    ],
    receivers: [
      { id: 'email', kind: 'email', settings: { recipients: ['admin@example.com', 'ops@example.com'] }, secrets: { password: { set: true, last4: null } }, enabled: true, origin: 'environment', revision: 1, lastDelivery: { at: minutes(12.8), outcome: 'sent' } },
      { id: 'on-call', kind: 'pagerduty', settings: {}, secrets: { routingKey: { set: true, last4: '91ab' } }, enabled: true, origin: 'api', revision: 4, lastDelivery: null },
      { id: 'slack', kind: 'slack', settings: {}, secrets: { url: { set: true, last4: 'hook' } }, enabled: true, origin: 'environment', revision: 1, lastDelivery: { at: minutes(3), outcome: 'failed' } },
    ],
    deliveries: [delivery('d1', 'sent', 'email'), delivery('d2', 'dead', 'slack', { attempts: 6 }), delivery('d3', 'queued', 'slack', { nextAttemptAt: minutes(-0.5) })],
  };
}

function detail(found) {
  const start = Date.now() - 45 * 60_000;
  const values = Array.from({ length: 181 }, (_, n) => (n === 60 ? null : 120 + 40 * Math.sin(n / 9) + (n > 126 ? 260 + 30 * Math.sin(n / 3) : 0)));
  const transitions = [{ at: minutes(14), from: 'inactive', to: 'pending', severity: found.severity, value: 330, reason: 'over the threshold' }];
  if (found.startsAt) transitions.push({ at: found.startsAt, from: 'pending', to: 'firing', severity: found.severity, value: 388, reason: 'for 1m' });
  if (found.endsAt) transitions.push({ at: found.endsAt, from: 'firing', to: 'resolved', severity: found.severity, value: 140, reason: found.resolvedReason });
  return { ...found, transitions, deliveries: [delivery('d1', 'sent', 'email'), delivery('d2', 'dead', 'slack', { attempts: 6 })], chart: { start: new Date(start).toISOString(), step: 15, values } };
}

function backtest(body) {
  const { past } = newState();
  const over = (body.rule?.threshold ?? 300) > 300;
  const summary = { alerts: over ? 0 : 2, notifications: over ? 0 : 4, firingSeconds: over ? 0 : 600, byReceiver: { email: 2, slack: 2 } };
  return { evaluations: 5760, transitions: [], alerts: over ? [] : past, notifications: [], summary, live: { ...summary, alerts: 2, notifications: 4, firingSeconds: 600 }, series: { start: minutes(60), step: 15, values: {} } };
}

const SILENCE = /^\/api\/silences\/([^/]+)$/;
const ALERT = /^\/api\/alerts\/(\d+)$/;
const ACK = /^\/api\/alerts\/(\d+)\/ack$/;
const RULE = /^\/api\/alerts\/rules\/([^/]+)$/;

function answerRule(state, method, id, body) {
  const at = state.rules.findIndex((rule) => rule.id === id);
  if (at < 0) return [404, { detail: `no rule "${id}"` }];
  if (method === 'DELETE') return [204, state.rules.splice(at, 1) && undefined];
  if (method === 'PUT' && body.revision !== state.rules[at].revision) return [409, { detail: 'the rule has been changed meanwhile', field: 'revision' }];
  if (method === 'PUT') state.rules[at] = { ...state.rules[at], ...body, revision: body.revision + 1 };
  return [200, state.rules[at]];
}

function answer(state, method, path, body) {
  const find = (id) => [...state.alerts, ...state.past].find((one) => one.id === id);
  const lists = { '/api/alerts/active': state.alerts, '/api/alerts/history': [...state.alerts, ...state.past], '/api/alerts/rules': state.rules, '/api/silences': state.silences, '/api/receivers': state.receivers, '/api/deliveries': state.deliveries };
  if (method === 'GET' && lists[path]) return [200, lists[path]];
  if (method === 'POST' && path === '/api/alerts/rules') return [201, state.rules[state.rules.push({ ...rules()[0], ...body, origin: 'api', revision: 1, alerts: { pending: 0, firing: 0 } }) - 1]];
  if (method === 'POST' && path === '/api/silences') return [201, state.silences[state.silences.push({ id: `s${state.silences.length + 1}`, state: 'active', affected: 1, ...body }) - 1]];
  if (method === 'POST' && path === '/api/receivers') return [201, state.receivers[state.receivers.push({ ...body, secrets: {}, origin: 'api', revision: 1, lastDelivery: null }) - 1]];
  if (path === '/api/silences/preview') return [200, { alerts: state.alerts.filter((one) => body.matchers.every((m) => one.labels[m.name] === m.value)) }];
  if (path.endsWith('/backtest')) return [200, backtest(body)];
  if (path.endsWith('/revert')) return [200, Object.assign(state.rules[0], { threshold: 300, revision: state.rules[0].revision + 1 })];
  if (path.endsWith('/revisions')) return [200, [{ revision: 1, rule: rules()[0], origin: 'default', deleted: false, createdAt: minutes(9000) }, ...(state.rules[0].revision > 1 ? [{ revision: 2, rule: state.rules[0], origin: 'api', deleted: false, createdAt: minutes(0) }] : [])]];
  if (path.endsWith('/test')) return [200, { outcome: 'sent', status: 200, detail: 'ok', durationMs: 43 }];
  if (path.endsWith('/resend')) return [202, {}];
  const [silence, one, ack, rule] = [SILENCE, ALERT, ACK, RULE].map((form) => form.exec(path)?.[1]);
  if (silence && method === 'DELETE') {
    state.silences = state.silences.map((s) => (s.id === silence ? { ...s, state: 'expired', endsAt: minutes(0) } : s));
    return [204, undefined];
  }
  const found = find(ack ?? one ?? '');
  if (ack && found) {
    found.acknowledged = method === 'DELETE' ? null : { by: body.by, at: minutes(0), note: body.note ?? '' };
    return [200, found];
  }
  if (one && found) return [200, detail(found)];
  if (rule) return answerRule(state, method, decodeURIComponent(rule), body);
  return [404, { detail: 'there is nothing at this path' }];
}

/** Answers for alerting in `context` when the server at `base` has none. */
export async function fakeAlerts(context, base) {
  const own = await fetch(`${base}/api/alerts/rules`);
  if (own.ok) return null;
  const state = newState();
  await context.route(/\/api\/(alerts|silences|receivers|deliveries)/, async (route) => {
    const request = route.request();
    const [status, body] = answer(state, request.method(), new URL(request.url()).pathname, request.postDataJSON());
    await route.fulfill({ status, contentType: status < 400 ? 'application/json' : 'application/problem+json', body: body === undefined ? '' : JSON.stringify(body) });
  });
  return state;
}
