// Empties dist/, all but what git keeps there: the binary's build watches the directory, so it must stay.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..', 'dist');
for (const name of readdirSync(root)) {
  if (name !== '.gitignore') rmSync(join(root, name), { recursive: true });
}
