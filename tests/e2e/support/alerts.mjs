// Real alerts: receivers that answer or refuse, rules made over the API, and exports that make them fire.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { until } from './server.mjs';

/** Somebody to be told: takes what comes to /takes, refuses the rest. */
export async function hook() {
  const told = [];
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => (body += chunk));
    request.on('end', () => {
      told.push(body);
      response.statusCode = request.url === '/takes' ? 200 : 400;
      response.end('{}');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  const environment = { ALERT_WEBHOOK_URL: `${url}/takes`, FASTBREAK_NOTIFY_ALLOW_CIDRS: '127.0.0.0/8', FASTBREAK_NOTIFY_ALLOW_PORTS: '1-65535' };
  return { url, told, environment, close: () => server.close() };
}

async function ask(server, method, path, body) {
  const answer = await fetch(server.http + path, { method, headers: { 'content-type': 'application/json' }, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

const rule = (id, name, condition, threshold, more = {}) => ({ id, name, condition, threshold, severity: 'warning', cooldownMinutes: 5, notificationChannels: [], ...more });
const RULES = [
  rule('high_response_time', 'High response time', 'p95ResponseTime > threshold', 100, { severity: 'critical', notificationChannels: ['webhook', 'ops-slack'], annotations: { summary: 'customers wait {{ value | round(0) }} ms' } }),
  rule('long_queue', 'Queue is long', 'max by (service_name) ({"e2e.queue"}) > threshold', 100, { notificationChannels: ['webhook'] }),
  rule('old_stock', 'Stock is old', 'max by (service_name) ({"e2e.stock_age"}) > threshold', 50, { for: '1h' }),
  rule('full_shelf', 'Shelf is full', 'max by (service_name) ({"e2e.shelf"}) > threshold', 90, { severity: 'critical', notificationChannels: ['webhook'] }),
  rule('slow_pages', 'Slow pages', 'p95ResponseTime > threshold', 300, { severity: 'info', for: '1h' }),
];

const active = (server) => ask(server, 'GET', '/api/alerts/active');

/** Alerts in every state, one of them acknowledged; receivers that work and one that does not; silences. */
export async function alerts(server, { url }) {
  await ask(server, 'POST', '/api/receivers', { id: 'ops-slack', kind: 'slack', secrets: { webhookUrl: `${url}/refuses` } });
  await ask(server, 'POST', '/api/receivers', { id: 'on-call', kind: 'pagerduty', settings: { apiUrl: `${url}/takes` }, secrets: { routingKey: '0123456789abcdef0123456789abcdef' } });
  for (const one of RULES) await ask(server, 'POST', '/api/alerts/rules', one);
  for (const service of ['storefront', 'checkout']) await server.send(service, 'e2e.queue', service === 'checkout' ? 240 : 130);
  await server.send('recommender', 'e2e.stock_age', 71);
  await server.send('storefront', 'e2e.shelf', 97);
  const isOpen = async (id, state) => (await active(server)).some((one) => one.ruleId === id && one.state === state);
  for (const id of ['high_response_time', 'long_queue', 'full_shelf']) await until(`${id} fires`, () => isOpen(id, 'firing'), 60_000);
  await until('one is pending', () => isOpen('old_stock', 'pending'), 60_000);
  await server.send('storefront', 'e2e.shelf', 12);
  await until('one is over', async () => !(await isOpen('full_shelf', 'firing')), 60_000);

  const taken = (await active(server)).find((one) => one.labels.service_name === 'checkout');
  await ask(server, 'POST', `/api/alerts/${taken.id}/ack`, { by: 'Ada', note: 'more workers are starting' });
  const silence = (labels, comment) => ({ matchers: labels, endsAt: new Date(Date.now() + 7_200_000).toISOString(), createdBy: 'Grace', comment });
  await ask(server, 'POST', '/api/silences', silence([{ name: 'service_name', op: '=', value: 'recommender' }, { name: 'severity', op: '=~', value: 'warning|info' }], 'model roll-out'));
  const ended = await ask(server, 'POST', '/api/silences', silence([{ name: 'service_name', op: '=', value: 'cart' }], 'migration'));
  await ask(server, 'DELETE', `/api/silences/${ended.id}`);
  const dead = async () => (await ask(server, 'GET', '/api/deliveries')).some(({ state }) => state === 'dead');
  await until('a delivery is given up', dead, 60_000);
  return (await active(server)).find((one) => one.ruleId === 'high_response_time').id;
}
