// Numbers and times, as people read them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { show } from '../src/data/format.ts';
import { absolute, parseDuration, parseTime, span } from '../src/data/time.ts';

test('numbers have three digits that count and a unit', () => {
  const table: [number | null, string, string][] = [
    [0.4155, 's', '416 ms'],
    [0.00042, 's', '420 µs'],
    [3, 's', '3 s'],
    [4.2e-7, 's', '0.42 µs'],
    [412.49, 'ms', '412 ms'],
    [7200, 's', '2 h'],
    [50331648, 'By', '48 MiB'],
    [1536, 'By/s', '1.5 KiB/s'],
    [99.94, '%', '99.9%'],
    [15.4, '1/s', '15.4/s'],
    [12_345, '1/s', '12.3k/s'],
    [1_250_000, '', '1.25M'],
    [10, '{connection}', '10 connections'],
    [0, 's', '0 ms'],
    [null, 's', '–'],
    [Number.NaN, '%', '–'],
  ];
  for (const [value, unit, expected] of table) assert.equal(show(value, unit), expected, `${value} ${unit}`);
});

test('times are relative, ISO or milliseconds', () => {
  const now = Date.parse('2026-05-01T12:00:00Z');
  assert.equal(parseTime('now', now), now);
  assert.equal(parseTime('now-6h', now), now - 6 * 3_600_000);
  assert.equal(parseTime('2026-05-01T11:00:00Z', now), now - 3_600_000);
  assert.equal(parseTime(String(now), now), now);
  for (const bad of ['', 'yesterday', 'now-', 'now-5x', 'now+1h']) assert.equal(parseTime(bad, now), null, bad);
  assert.equal(parseTime(absolute(now), 0), now);
});

test('durations are read and written', () => {
  assert.equal(parseDuration('1h30m'), 5400);
  assert.equal(parseDuration('500ms'), 0.5);
  for (const bad of ['', '5', 'm', '5 m', '-5m']) assert.equal(parseDuration(bad), null, bad);
  assert.deepEqual([800, 45_000, 720_000, 12_600_000, 200_000_000].map(span), ['800 ms', '45 s', '12 min', '3.5 h', '2.3 d']);
});
