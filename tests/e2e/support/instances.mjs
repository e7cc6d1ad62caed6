// Instances that watch the server as the SDK does: each says who it is, takes its policies or refuses them, and keeps the stream open.
import { connect } from 'node:http2';

/** Protocol buffers, as far as these messages go. */
function varint(number) {
  const out = [];
  let rest = BigInt(number);
  for (; rest > 127n; rest >>= 7n) out.push(Number(rest & 127n) | 128);
  return Buffer.from([...out, Number(rest)]);
}
const bytes = (field, body) => Buffer.concat([varint(field * 8 + 2), varint(body.length), body]);
const text = (field, value) => bytes(field, Buffer.from(value));
const number = (field, value) => Buffer.concat([varint(field * 8), varint(value)]);
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));
const entry = (field, key, value) => message(field, text(1, key), text(2, value));

/** Fields of a message: `[number, bytes or integer]`. */
function fields(body) {
  const found = [];
  let at = 0;
  const next = () => {
    let [value, shift] = [0n, 0n];
    for (;;) {
      const byte = body[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
      shift += 7n;
    }
  };
  while (at < body.length) {
    const tag = next();
    if (tag % 8 === 0) found.push([tag >> 3, next()]);
    else {
      const length = next();
      found.push([tag >> 3, body.subarray(at, (at += length))]);
    }
  }
  return found;
}

function frame(body) {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

const SNAPSHOT = 2;
const DELTA = 3;
const INVALIDATION = 4;
const WARM = 5;

/** Opens the stream of one instance; `refuses` says why it does not take a policy, or nothing; one that is deaf takes no invalidation;
 * `warms` says how many keys of a key space it loads and how many it does not, sooner or later. */
export function watching(server, { service, instance, version = '1.4.0', labels = {}, refuses = () => '', isDeaf = false, warms = async () => [0, 0] }) {
  const session = connect(server.grpc);
  const stream = session.request({ ':method': 'POST', ':path': '/fastbreak.v1.PolicyService/Watch', 'content-type': 'application/grpc', te: 'trailers' });
  for (const one of [session, stream]) one.on('error', () => undefined);
  const say = (...parts) => stream.write(frame(Buffer.concat(parts)));
  const pairs = Object.entries(labels).map(([name, value]) => entry(4, name, value));
  say(message(1, text(1, service), text(2, instance), text(3, version), ...pairs, text(5, 'e2e/1')));
  const load = async (order) => {
    const parts = fields(order);
    const texts = (field) => parts.filter(([number]) => number === field).map(([, part]) => part.toString());
    const [loaded, failed] = await warms(texts(2)[0], texts(3));
    say(message(4, text(1, texts(1)[0]), number(2, loaded), number(3, failed)));
  };
  const answer = (body) => {
    const said = fields(body);
    for (const [field, order] of said) if (field === WARM) void load(order);
    const nonce = said.find(([field]) => field === 1)?.[1].toString();
    if (!nonce || (isDeaf && said.some(([field]) => field === INVALIDATION))) return;
    const given = said.filter(([field]) => field === SNAPSHOT || field === DELTA).flatMap(([, part]) => fields(part));
    const ids = given.filter(([field, part]) => field === 1 && Buffer.isBuffer(part)).map(([, part]) => fields(part).find(([field]) => field === 1)?.[1].toString() ?? '');
    const refused = ids.map((id) => [id, refuses(id)]).find(([, why]) => why);
    // A cache that was meant has brought it to its Redis.
    const caches = said.some(([field]) => field === INVALIDATION) ? [number(4, 1)] : [];
    say(message(2, text(1, nonce), ...(refused ? [text(2, refused[1]), text(3, refused[0])] : []), ...caches));
  };
  let waiting = Buffer.alloc(0);
  stream.on('data', (chunk) => {
    waiting = Buffer.concat([waiting, chunk]);
    while (waiting.length >= 5 && waiting.length >= 5 + waiting.readUInt32BE(1)) {
      const end = 5 + waiting.readUInt32BE(1);
      answer(waiting.subarray(5, end));
      waiting = waiting.subarray(end);
    }
  });
  let asked = 0;
  const timer = setInterval(() => say(message(3, number(1, (asked += 1)))), 3000);
  return () => {
    clearInterval(timer);
    session.destroy();
  };
}
