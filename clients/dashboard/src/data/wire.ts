// What passes on the socket.
export type Items = Record<string, unknown>;

export interface Update {
  kind: 'snapshot' | 'delta';
  at: number;
  items: Items;
}

export interface Message {
  kind: 'hello' | 'snapshot' | 'delta' | 'failure';
  topic?: string;
  instance?: string;
  windowSeconds?: number;
  seq?: number;
  at?: number;
  items?: Items;
  detail?: string;
}

/** What a delta makes of what is there. */
export function merge(old: Items, changes: Items): Items {
  const next = { ...old, ...changes };
  for (const [key, value] of Object.entries(changes)) if (value === null) delete next[key];
  return next;
}
