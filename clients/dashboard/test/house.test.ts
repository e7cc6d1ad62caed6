// The rules of this house: small files, no HTML from text, nothing from elsewhere.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname ?? '.', '..', 'src');
const files = readdirSync(root, { recursive: true }).map(String).filter((name) => /\.(tsx?|css)$/.test(name));
const code = files.filter((name) => /\.tsx?$/.test(name) && !name.endsWith('.d.ts'));
const read = (name: string): string => readFileSync(join(root, name), 'utf8');

test('no file is longer than 150 lines', () => {
  assert.ok(code.length > 40, 'the house was not found');
  const long = code.filter((name) => read(name).split('\n').length > 151);
  assert.deepEqual(long, []);
});

test('every file says what it is', () => {
  const mute = files.filter((name) => !name.endsWith('schema.d.ts') && !/^(\/\/|\/\*)/.test(read(name)));
  assert.deepEqual(mute, []);
});

test('no HTML is made of text, and no code either', () => {
  const banned = /innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|document\.write|\beval\(|new Function/;
  assert.deepEqual(code.filter((name) => banned.test(read(name))), []);
});

test('only one file asks the server, and nothing is asked of anybody else', () => {
  const asking = code.filter((name) => /\bfetch\(|XMLHttpRequest|new WebSocket|sendBeacon|EventSource/.test(read(name)));
  assert.deepEqual(asking.sort(), ['data/fetch.ts', 'data/live.ts']);
  const foreign = files.filter((name) => /https?:\/\/(?!\$\{|127\.0\.0\.1)/.test(read(name)));
  assert.deepEqual(foreign, []);
});

test('the types are those of the document that the server serves', () => {
  const here = join(root, '..');
  const made = execFileSync(join(here, 'node_modules', '.bin', 'openapi-typescript'), ['../openapi.json'], { cwd: here, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  assert.ok(made.trim() === read('data/schema.d.ts').trim(), '`npm run types` makes others');
});
