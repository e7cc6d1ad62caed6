// The real server on ports of its own, with a private Postgres and Redis in a scratch directory.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const root = join(import.meta.dirname, '..', '..', '..');
const binary = process.env.FASTBREAK_BIN ?? join(root, 'target', 'debug', 'fastbreak');
const START_MS = 60_000;

/** A port that is free now. */
async function freePort() {
  const socket = createServer().listen(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

export class Server {
  static async start(environment = {}) {
    const server = new Server();
    server.directory = mkdtempSync(join(tmpdir(), 'fastbreak-e2e-'));
    // The private Postgres runs as a user of its own, who must get in.
    chmodSync(server.directory, 0o755);
    const [http, grpc, otlp] = [await freePort(), await freePort(), await freePort()];
    server.http = `http://127.0.0.1:${http}`;
    server.grpc = `http://127.0.0.1:${grpc}`;
    server.otlp = `http://127.0.0.1:${otlp}`;
    server.environment = {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      RUST_LOG: 'warn',
      FASTBREAK_HTTP_ADDR: `127.0.0.1:${http}`,
      FASTBREAK_GRPC_ADDR: `127.0.0.1:${grpc}`,
      FASTBREAK_OTLP_HTTP_ADDR: `127.0.0.1:${otlp}`,
      FASTBREAK_DATA_DIR: join(server.directory, 'data'),
      ...environment,
    };
    await server.up();
    return server;
  }

  async up() {
    this.child = spawn(binary, ['serve'], { env: this.environment, cwd: this.directory, stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface({ input: this.child.stdout }).on('line', () => undefined);
    const isGone = () => {
      if (this.child.exitCode !== null) throw new Error(`the server left with ${this.child.exitCode}`);
    };
    await until('the server is ready', async () => isGone() ?? (await fetch(`${this.http}/readyz`).catch(() => null))?.ok, START_MS);
  }

  async down() {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await ended;
  }

  /** Sends one gauge over OTLP/HTTP as JSON. */
  async send(service, name, value, attributes = {}) {
    const pairs = (of) => Object.entries(of).map(([key, text]) => ({ key, value: { stringValue: text } }));
    const dataPoints = [{ asDouble: value, timeUnixNano: `${Date.now()}000000`, attributes: pairs(attributes) }];
    const body = { resourceMetrics: [{ resource: { attributes: pairs({ 'service.name': service }) }, scopeMetrics: [{ metrics: [{ name, gauge: { dataPoints } }] }] }] };
    return fetch(`${this.otlp}/v1/metrics`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  }

  /** The demo shop, until it is stopped. */
  demo(rate = 40) {
    const shop = spawn(binary, ['demo', '--endpoint', this.grpc, '--rate', String(rate), '--period', '1s', '--incident-every', '30s'], { env: this.environment, stdio: 'ignore' });
    return async () => {
      const ended = once(shop, 'exit');
      shop.kill('SIGKILL');
      await ended;
    };
  }

  async stop() {
    await this.down();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Looks until `condition` is true. */
export async function until(what, condition, patience = 20_000) {
  const began = Date.now();
  while (!(await condition())) {
    if (Date.now() - began > patience) throw new Error(`${what}: not within ${patience} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return Date.now() - began;
}
