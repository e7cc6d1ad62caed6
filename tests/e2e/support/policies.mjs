// Policies made over the API, as others make them while a page is open.
async function ask(server, method, path, body, headers = {}) {
  const answer = await fetch(server.http + path, { method, headers: { 'content-type': 'application/json', ...headers }, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

const because = (author, reason) => `?${new URLSearchParams({ author, reason })}`;

export const policy = (server, id) => ask(server, 'GET', `/api/policies/${id}`);
export const create = (server, body, author = 'Ada', reason = '') => ask(server, 'POST', `/api/policies${because(author, reason)}`, body);

/** Puts anything else, such as an override. */
export const put = (server, path, body, author, reason) => ask(server, 'POST', path + because(author, reason), body);

/** Changes a part of one, whatever its revision is. */
export async function change(server, id, part, author = 'Grace', reason = '') {
  const { revision, ...before } = await policy(server, id);
  return ask(server, 'PUT', `/api/policies/${id}${because(author, reason)}`, { ...before, ...part }, { 'if-match': `"${revision}"` });
}

/** A few of each kind, with a past. */
export async function policies(server) {
  await create(server, { id: 'users', name: 'Users', selector: { service: 'shop', target: 'users' }, cache: { l1Ttl: '1m', l2Ttl: '30m', grace: '5m' } }, 'Ada', 'as it is in the code');
  await change(server, 'users', { cache: { l1Ttl: '2m', l2Ttl: '30m', l1MaxBytes: 33_554_432 } }, 'Grace', 'more hits for little memory');
  await create(server, { id: 'everything', name: 'Every key space', cache: { staleWhileRevalidate: '30s', compression: 'zstd' } }, 'Linus', '');
  await create(server, { id: 'prices', name: 'Prices', selector: { service: 'shop', target: 'prices', labels: { region: 'eu' } }, batch: { maxItems: 100, maxWait: '10ms', rate: { perSecond: 50 } } }, 'Ada', 'the bank asks for it');
  await create(server, { id: 'old', name: 'Old mail', selector: { service: 'mailer*' }, batch: {}, enabled: false }, 'Ada', 'not needed now');
}
