// Compresses what was built, and fails when it has grown past the budget.
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const FIRST_LOAD_MAX = 120 * 1024;
const ALL_MAX = 160 * 1024;
const KINDS = /\.(html|js|css|svg)$/;

const root = join(import.meta.dirname, '..', 'dist');
const files = readdirSync(root, { recursive: true }).map(String).filter((name) => KINDS.test(name));
const sizes = new Map();
for (const name of files) {
  const data = readFileSync(join(root, name));
  const gzip = gzipSync(data, { level: 9 });
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: data.length };
  writeFileSync(join(root, `${name}.gz`), gzip);
  writeFileSync(join(root, `${name}.br`), brotliCompressSync(data, { params }));
  sizes.set(name, gzip.length);
}

// What the page names is loaded at once; chunks come when they are asked for.
const page = readFileSync(join(root, 'index.html'), 'utf8');
const sum = (names) => names.reduce((total, name) => total + sizes.get(name), 0);
const first = sum(files.filter((name) => name === 'index.html' || page.includes(`/${name}`)));
const all = sum(files);
const kib = (bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
console.log(`first load ${kib(first)} of ${kib(FIRST_LOAD_MAX)} gzip, all ${kib(all)} of ${kib(ALL_MAX)}`);
if (first > FIRST_LOAD_MAX || all > ALL_MAX) {
  console.error('the dashboard is over its budget');
  process.exit(1);
}
