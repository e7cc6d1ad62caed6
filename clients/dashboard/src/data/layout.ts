// Where things stand in a drawing of layers: who calls stands before whom it calls.
export interface Link {
  from: string;
  to: string;
}

export interface Place {
  /** Along the calls, across them. */
  x: number;
  y: number;
}

export interface Layout {
  nodes: Map<string, Place>;
  /** The way of each link, in the order given. */
  ways: Place[][];
  width: number;
  height: number;
}

interface Options {
  /** Distance of layers, and of two in one layer. */
  layer: number;
  between: number;
}

const SWEEPS = 12;

/** The layer of each name: one after the last of its callers; a call that closes a circle does not count. */
export function layersOf(names: string[], links: Link[]): Map<string, number> {
  const [after, called] = [new Map<string, string[]>(), new Set(links.filter(({ from, to }) => from !== to).map(({ to }) => to))];
  for (const { from, to } of links) if (from !== to) after.set(from, [...(after.get(from) ?? []), to]);
  const layers = new Map<string, number>();
  const [order, state] = [[] as string[], new Map<string, 'open' | 'done'>()];
  const forward = new Map<string, string[]>();
  const visit = (name: string): void => {
    state.set(name, 'open');
    for (const next of after.get(name) ?? []) {
      if (state.get(next) === 'open') continue;
      forward.set(name, [...(forward.get(name) ?? []), next]);
      if (!state.has(next)) visit(next);
    }
    state.set(name, 'done');
    order.push(name);
  };
  // Those whom nobody calls first.
  for (const name of [...names.filter((one) => !called.has(one)), ...names]) if (!state.has(name)) visit(name);
  for (const name of order.reverse()) {
    layers.set(name, layers.get(name) ?? 0);
    for (const next of forward.get(name) ?? []) layers.set(next, Math.max(layers.get(next) ?? 0, (layers.get(name) ?? 0) + 1));
  }
  return layers;
}

/** A thing in a layer: a name, or where a long link passes. */
interface Thing {
  layer: number;
  at: number;
  before: Thing[];
  after: Thing[];
}

function thingsOf(names: string[], links: Link[], layers: Map<string, number>): { things: Map<string, Thing>; chains: Thing[][]; rows: Thing[][] } {
  const rows: Thing[][] = [];
  const add = (layer: number): Thing => {
    const row = (rows[layer] ??= []);
    const thing = { layer, at: row.length, before: [], after: [] };
    row.push(thing);
    return thing;
  };
  const things = new Map(names.map((name) => [name, add(layers.get(name) ?? 0)]));
  const chains = links.map(({ from, to }) => {
    const [a, b] = [things.get(from), things.get(to)];
    if (!a || !b || a === b) return [];
    const [low, high] = a.layer <= b.layer ? [a, b] : [b, a];
    const chain = [low];
    for (let layer = low.layer + 1; layer < high.layer; layer += 1) chain.push(add(layer));
    chain.push(high);
    for (let n = 1; n < chain.length; n += 1) {
      chain[n - 1]?.after.push(chain[n] as Thing);
      chain[n]?.before.push(chain[n - 1] as Thing);
    }
    return low === a ? chain : chain.reverse();
  });
  return { things, chains, rows };
}

const mean = (of: Thing[], own: number): number => (of.length ? of.reduce((sum, { at }) => sum + at, 0) / of.length : own);

/** Fewer crossings: each thing goes to the mean of its neighbours, layer by layer, there and back. */
function order(rows: Thing[][]): void {
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isDown = sweep % 2 === 0;
    for (const row of isDown ? rows : [...rows].reverse()) {
      const wish = new Map(row.map((thing) => [thing, mean(isDown ? thing.before : thing.after, thing.at)]));
      row.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
      row.forEach((thing, n) => (thing.at = n));
    }
  }
}

/** Places in a layer: near the neighbours, never nearer than one to the next. */
function spread(rows: Thing[][]): void {
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (const row of sweep % 2 === 0 ? rows : [...rows].reverse()) {
      for (const thing of row) thing.at = (thing.at + mean([...thing.before, ...thing.after], thing.at)) / 2;
      for (let n = 1; n < row.length; n += 1) {
        const [one, next] = [row[n - 1] as Thing, row[n] as Thing];
        if (next.at - one.at >= 1) continue;
        const middle = (one.at + next.at) / 2;
        [one.at, next.at] = [middle - 0.5, middle + 0.5];
      }
      for (let n = 1; n < row.length; n += 1) (row[n] as Thing).at = Math.max((row[n] as Thing).at, (row[n - 1] as Thing).at + 1);
    }
  }
}

export function layout(names: string[], links: Link[], { layer, between }: Options): Layout {
  const { things, chains, rows } = thingsOf(names, links, layersOf(names, links));
  order(rows);
  spread(rows);
  const all = rows.flat();
  const lowest = all.reduce((low, { at }) => Math.min(low, at), all[0]?.at ?? 0);
  const place = (thing: Thing): Place => ({ x: (thing.layer + 0.5) * layer, y: (thing.at - lowest + 0.5) * between });
  const most = all.reduce((high, { at }) => Math.max(high, at), lowest);
  return {
    nodes: new Map([...things].map(([name, thing]) => [name, place(thing)])),
    ways: chains.map((chain) => chain.map(place)),
    width: rows.length * layer,
    height: (most - lowest + 1) * between,
  };
}
