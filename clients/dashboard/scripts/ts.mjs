// Lets Node run the TypeScript of the unit tests: types are left out, nothing is checked here (`npm run check` does).
import { register } from 'node:module';

register('./ts-hooks.mjs', import.meta.url);

// Modules that know the page's address read it once when they are loaded.
globalThis.window ??= { location: new URL('http://127.0.0.1/'), addEventListener: () => undefined };
