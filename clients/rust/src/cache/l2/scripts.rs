//! What must be one step in Redis.
//!
//! All keys of a key space have one hash tag, so each script's keys are in one slot of a cluster. `seq` holds the last stamp:
//! it grows with each invalidation, and is never less than Redis's time in microseconds, so that it also grows over a flush.

/// Makes the next stamp `s`, and a way to tell it; the first argument is who tells. Telling is the last that a script does,
/// and `seq` moves with it: a stamp that nobody is told of would cost every instance its memory.
const NEXT: &str = r"
local t = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local s = math.max(last + 1, t[1] * 1000000 + t[2])
local text = string.format('%.0f', s)
local stamp = string.format('%016x', s)
local function tell(...)
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', '4096', text .. '-0', 'prev', string.format('%.0f', last), 'by', ARGV[1], ...)
  redis.call('SET', KEYS[1], text)
end
";

/// KEYS: seq, log, all, prefixes, then tombs and tags. ARGV: who, `all` or nothing, life of a tomb in ms, its head, number of
/// keys, keys, number of tags, tags, number of prefixes, prefixes.
const INVALIDATE: &str = r"
local event = {}
local function note(kind, value) event[#event + 1] = kind .. ':' .. #event; event[#event + 1] = value end
if ARGV[2] == 'all' then redis.call('SET', KEYS[3], text); note('all', '1') end
local at, key = 5, 5
for _ = 1, tonumber(ARGV[at]) do
  at = at + 1
  redis.call('SET', KEYS[key], ARGV[4] .. stamp, 'PX', ARGV[3])
  note('key', ARGV[at]); key = key + 1
end
at = at + 1
for _ = 1, tonumber(ARGV[at]) do
  at = at + 1
  redis.call('SET', KEYS[key], text, 'EX', '2592000')
  note('tag', ARGV[at]); key = key + 1
end
at = at + 1
for _ = 1, tonumber(ARGV[at]) do
  at = at + 1
  redis.call('HSET', KEYS[4], ARGV[at], text)
  note('prefix', ARGV[at])
end
if redis.call('HLEN', KEYS[4]) > 256 then redis.call('SET', KEYS[3], text); redis.call('DEL', KEYS[4]); note('all', '1') end
tell(unpack(event))
return text
";

/// A write begins: KEYS: seq, log, key. ARGV: who, life of a tomb, its head. Nobody need be told yet.
const INTEND: &str = r"
redis.call('SET', KEYS[3], ARGV[3] .. stamp, 'PX', ARGV[2])
tell('nothing', '1')
return text
";

/// Writes end. KEYS: seq, log, keys. ARGV: who, life of a tomb, its head, then for each key: the stamp that it began with or
/// nothing to put in any case, head and tail of the frame, its life, the key. Stored only if nobody else has begun to write
/// since; otherwise the key stays empty, for whose write the source had last is not known.
const PUT: &str = r"
local event, answers = {}, {}
for n = 3, #KEYS do
  local at = 4 + (n - 3) * 5
  local mine = ARGV[at] == ''
  if not mine then
    local held = redis.call('GET', KEYS[n])
    mine = held and string.sub(held, 1, 18) == ARGV[3] .. ARGV[at]
  end
  if mine then redis.call('SET', KEYS[n], ARGV[at + 1] .. stamp .. ARGV[at + 2], 'PX', ARGV[at + 3])
  else redis.call('SET', KEYS[n], ARGV[3] .. stamp, 'PX', ARGV[2]) end
  event[#event + 1] = 'key:' .. n
  event[#event + 1] = ARGV[at + 4]
  answers[#answers + 1] = mine and 1 or 0
end
tell(unpack(event))
return answers
";

/// What was loaded. KEYS: key. ARGV: stamp, frame, life. Not over what is later.
pub(super) const STORE: &str = r"
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 3, 18) > ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
";

/// Gives a lease back. KEYS: lease. ARGV: token.
pub(super) const RELEASE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
";

pub(super) fn invalidate() -> redis::Script {
    redis::Script::new(&[NEXT, INVALIDATE].concat())
}

pub(super) fn intend() -> redis::Script {
    redis::Script::new(&[NEXT, INTEND].concat())
}

pub(super) fn put() -> redis::Script {
    redis::Script::new(&[NEXT, PUT].concat())
}
