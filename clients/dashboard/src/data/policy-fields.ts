// The fields of policies: how they are called, what they are when left out, and what each says in words.
import type { Policy } from './policy.ts';
import { read } from './policy.ts';

export type FieldKind = 'period' | 'bytes' | 'count' | 'number' | 'share' | 'yes' | 'choice';

/** What is written in one input. */
export interface Entry {
  path: string;
  title: string;
  kind: FieldKind;
  /** As it is when left out; null is without. */
  usual: string | number | boolean | null;
  choices?: Record<string, string>;
}

export interface Field extends Entry {
  /** A sentence; `{}` is the value. */
  says: string;
  /** The sentence when it is nothing: 0, off, without. */
  none?: string;
  /** Only then it counts. */
  when?: (policy: Policy) => boolean;
}

export interface FieldGroup {
  title: string;
  fields: Field[];
}

type More = Pick<Field, 'none' | 'choices' | 'when'>;
const field = (path: string, kind: FieldKind, title: string, usual: Field['usual'], says: string, more: More = {}): Field => ({ path, kind, title, usual, says, ...more });
const at = (policy: Policy, path: string): unknown => read(policy, path.split('.'));

const isBehind = (policy: Policy): boolean => policy.cache?.strategy === 'behind';
const isSmaller = (policy: Policy): boolean => (policy.cache?.compression ?? 'none') !== 'none';
const isLimited = (policy: Policy): boolean => at(policy, 'batch.rate') != null;

const retry = (part: string): FieldGroup => ({
  title: 'Retries',
  fields: [
    field(`${part}.retry.attempts`, 'count', 'Tries', 3, 'What fails is tried {} times in all.'),
    field(`${part}.retry.base`, 'period', 'First wait, at most', '100ms', 'Before the second try it waits up to {}, then twice as long each time.'),
    field(`${part}.retry.max`, 'period', 'Longest wait', '10s', 'It never waits longer than {}.'),
    field(`${part}.retry.budgetRatio`, 'share', 'Retries for each success', 0.1, 'Retries may be {} of what succeeds.'),
    field(`${part}.retry.budgetReserve`, 'count', 'Retries beyond that', 10, 'So many more retries are allowed beyond that: {}.'),
  ],
});

const CACHE: FieldGroup[] = [
  {
    title: 'Keeping',
    fields: [
      field('cache.strategy', 'choice', 'Writes', 'aside', '{}', { choices: {
        aside: 'A write goes to the source, and the entry is removed; the next read loads it.',
        through: 'A write goes to the source and, in the same call, into the cache.',
        behind: 'A write goes into the cache and a durable queue, and to the source in batches.',
      } }),
      field('cache.l1Ttl', 'period', 'Fresh in memory for', '1m', 'An entry is fresh in memory for {}.', { none: 'Nothing is kept in memory.' }),
      field('cache.l2Ttl', 'period', 'Fresh in Redis for', '1h', 'An entry is fresh in Redis for {}.', { none: 'Nothing is kept in Redis.' }),
      field('cache.ttlJitter', 'share', 'Shortened by up to', 0.1, 'Each life is shortened by up to {}, so that not all end at once.', { none: 'Lives are not shortened.' }),
      field('cache.l1MaxBytes', 'bytes', 'Memory, at most', 64 * 2 ** 20, 'Memory holds at most {}.'),
      field('cache.bypass', 'yes', 'Straight to the source', false, 'Every call goes straight to the source, as if there were no cache.', { none: 'Reads are answered from the cache.' }),
    ],
  },
  {
    title: 'Stale entries',
    fields: [
      field('cache.staleWhileRevalidate', 'period', 'Served while it is loaded anew', '0s', 'Past its life an entry is served for {} while one call loads it anew.', { none: 'Past its life an entry is not served while it is loaded.' }),
      field('cache.grace', 'period', 'Served when loading fails', '0s', 'When it cannot be loaded, an entry is served for {} past its life.', { none: 'When it cannot be loaded, the call fails.' }),
      field('cache.earlyRefresh', 'period', 'Loaded anew before its end', '0s', 'Up to {} before its end an entry may be loaded anew.', { none: 'Nothing is loaded before its end.' }),
      field('cache.negativeTtl', 'period', '“There is none” is kept for', '0s', '“There is none” is remembered for {}.', { none: '“There is none” is not remembered.' }),
      field('cache.coherenceLease', 'period', 'Memory is trusted for', '10s', 'An instance that has not heard of the server for {} does not read its memory.', { none: 'An instance that is cut off goes on reading its memory.' }),
    ],
  },
  {
    title: 'Loading',
    fields: [
      field('cache.loadTimeout', 'period', 'A load may take', '10s', 'A load may take {}.'),
      field('cache.l2Timeout', 'period', 'Redis may take', '100ms', 'Redis may take {}; then the call goes on without it.'),
      field('cache.lease', 'period', 'One instance loads, for at most', '0s', 'Of all instances one loads a missing key, for at most {}.', { none: 'Each instance loads a missing key for itself.' }),
      field('cache.warmKeys', 'count', 'Keys kept warm', 0, 'The {} keys most asked for are kept warm.', { none: 'No keys are kept warm.' }),
      field('cache.sampleRatio', 'share', 'Keys watched for the curve', 0.01, '{} of the keys are watched for the miss-ratio curve.', { none: 'No keys are watched: there is no miss-ratio curve.' }),
    ],
  },
  {
    title: 'Size in Redis',
    fields: [
      field('cache.compression', 'choice', 'Compression', 'none', '{}', { choices: { none: 'Values are not compressed.', zstd: 'Values are compressed by zstd in Redis.', gzip: 'Values are compressed by gzip in Redis.' } }),
      field('cache.compressionThresholdBytes', 'bytes', 'Compressed from', 1024, 'Values from {} on are compressed.', { none: 'Values of every size are compressed.', when: isSmaller }),
    ],
  },
  {
    title: 'Writing behind',
    fields: [
      field('cache.writeQueue', 'count', 'Writes that wait, at most', 10_000, 'At most {} writes wait; one more goes straight to the source.', { when: isBehind }),
      field('cache.writeBatch', 'count', 'Writes in a batch', 100, 'A batch has at most {} writes.', { when: isBehind }),
      field('cache.writeWait', 'period', 'A write waits for company', '100ms', 'A write waits {} for company.', { none: 'A write does not wait for company.', when: isBehind }),
    ],
  },
  retry('cache'),
];

const BATCH: FieldGroup[] = [
  {
    title: 'Gathering',
    fields: [
      field('batch.maxItems', 'count', 'Items in a batch, at most', 50, 'A batch has at most {} items.'),
      field('batch.maxWait', 'period', 'An item waits for', '20ms', 'An item waits up to {} for company.', { none: 'An item does not wait for company.' }),
      field('batch.latencyBudget', 'period', 'Latency budget', null, 'Batching may add {} to the p95 of an item; the wait follows the rate of arrival.', { none: 'No latency budget: the wait is as said.' }),
      field('batch.deduplicate', 'yes', 'Equal items share an answer', true, 'Equal items share an answer.', { none: 'Equal items are each asked for.' }),
    ],
  },
  {
    title: 'Limits',
    fields: [
      field('batch.maxBytes', 'bytes', 'Bytes in a batch, at most', 2 ** 20, 'A batch has at most {}.'),
      field('batch.maxConcurrentBatches', 'count', 'Batches at once', 3, 'At most {} batches are under way at once.'),
      field('batch.maxQueued', 'count', 'Items that wait, at most', 10_000, 'At most {} items wait or are under way; one more is refused.'),
      field('batch.callTimeout', 'period', 'A call may take', '10s', 'A call may take {}.'),
      field('batch.deadline', 'period', 'An item may take', '30s', 'An item may take {} in all.'),
    ],
  },
  {
    title: 'Rate',
    fields: [
      field('batch.rate.perSecond', 'number', 'Calls a second', null, '{} calls are made a second in the long run.', { none: 'Calls are not limited.' }),
      field('batch.rate.burst', 'count', 'Calls at once after a rest', 1, '{} may be made at once after a rest.', { when: isLimited }),
      field('batch.rate.shared', 'yes', 'All instances together', false, 'The limit is for all instances together, through Redis.', { none: 'The limit is for each instance.', when: isLimited }),
    ],
  },
  retry('batch'),
];

const BOUNDS: FieldGroup = {
  title: 'How far an override may go',
  fields: [
    field('bounds.maxTtl', 'period', 'Widest life', '24h', 'An override never widens a life beyond {}.'),
    field('bounds.minRate', 'number', 'Smallest rate', 1, 'An override never shrinks a rate below {} a second.'),
    field('bounds.maxLease', 'period', 'Longest', '1h', 'An override lasts at most {}.'),
  ],
};

export const GROUPS_OF = { cache: [...CACHE, BOUNDS], batch: [...BATCH, BOUNDS] };
