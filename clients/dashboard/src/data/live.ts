// The page's one socket: subscriptions, resumed by number after a drop.
import { type ReadonlySignal, signal } from '@preact/signals';
import { windowMs } from './range.ts';
import { type Items, merge, type Message, type Update } from './wire.ts';

export type { Items, Update } from './wire.ts';
export type LiveState = 'connecting' | 'live' | 'offline';

type Listener = (update: Update) => void;

interface Topic {
  listeners: Set<Listener>;
  /** Nobody listens any more; another page may, before it is told. */
  isLeft: boolean;
  seq: number | null;
  /** Of which server the number is. */
  instance: string;
  items: ReturnType<typeof signal<Items | null>>;
}

const RETRY_FIRST_MS = 300;
const RETRY_MOST_MS = 3000;
/** A hidden page lets go of its socket after so long. */
const HIDDEN_MS = 60_000;
/** The server closes for more. */
const TOPICS_MAX = 50;
/** Topics in one message. */
const CHUNK = 12;
const GATHER_MS = 20;

export const state = signal<LiveState>('connecting');
/** Grows with each connection: what is not numbered is asked for anew. */
export const connections = signal(0);

const topics = new Map<string, Topic>();
/** What the server knows that we want. */
const told = new Set<string>();
let telling = 0;
let socket: WebSocket | null = null;
let instance = '';
let retry = RETRY_FIRST_MS;
let timer = 0;
let hiding = 0;

function say(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

/** A topic as it is asked for: from where it was, if this server gave the number. */
function wanted(name: string, topic: Topic): object {
  const known = topic.seq !== null && topic.instance === instance;
  return known ? { topic: name, resume: { instance, seq: topic.seq } } : { topic: name };
}

/** Tells the server which topics came and went, in few messages of bounded size. */
function tell(): void {
  telling = 0;
  for (const [name, topic] of topics) if (topic.isLeft) topics.delete(name);
  const chunks = <T,>(list: T[]): T[][] => Array.from({ length: Math.ceil(list.length / CHUNK) }, (_, n) => list.slice(n * CHUNK, (n + 1) * CHUNK));
  const gone = [...told].filter((name) => !topics.has(name));
  const come = [...topics].slice(0, TOPICS_MAX).filter(([name]) => !told.has(name));
  for (const names of chunks(gone)) say({ op: 'unsubscribe', topics: names });
  for (const some of chunks(come)) say({ op: 'subscribe', topics: some.map(([name, topic]) => wanted(name, topic)) });
  if (socket?.readyState !== WebSocket.OPEN) return;
  for (const name of gone) told.delete(name);
  for (const [name] of come) told.add(name);
}

/** What a page asks for while it is built goes out together. */
function tellSoon(): void {
  telling ||= window.setTimeout(tell, GATHER_MS);
}

function take(message: Message): void {
  if (message.kind === 'hello') {
    instance = message.instance ?? '';
    windowMs.value = (message.windowSeconds ?? 10) * 1000;
    retry = RETRY_FIRST_MS;
    state.value = 'live';
    connections.value += 1;
    told.clear();
    tell();
    return;
  }
  const topic = topics.get(message.topic ?? '');
  if (!topic) return;
  topic.seq = message.seq ?? null;
  topic.instance = instance;
  if (message.kind === 'failure') return;
  const items = message.items ?? {};
  topic.items.value = message.kind === 'snapshot' ? items : merge(topic.items.value ?? {}, items);
  for (const listener of topic.listeners) listener({ kind: message.kind, at: message.at ?? Date.now(), items });
}

export function connect(): void {
  clearTimeout(timer);
  if (socket || document.hidden) return;
  const scheme = window.location.protocol === 'https:' ? 'wss' : 'ws';
  const opened = new WebSocket(`${scheme}://${window.location.host}/ws`);
  socket = opened;
  opened.onmessage = (event) => take(JSON.parse(event.data as string) as Message);
  opened.onclose = () => {
    if (socket !== opened) return;
    socket = null;
    state.value = 'offline';
    timer = window.setTimeout(connect, retry * (0.75 + Math.random() / 2));
    retry = Math.min(retry * 2, RETRY_MOST_MS);
  };
}

function leave(): void {
  const left = socket;
  socket = null;
  state.value = 'connecting';
  left?.close();
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = window.setTimeout(leave, HIDDEN_MS);
  else connect();
});

function topicOf(name: string): Topic {
  let topic = topics.get(name);
  if (!topic) {
    topic = { listeners: new Set(), isLeft: false, seq: null, instance: '', items: signal(null) };
    topics.set(name, topic);
    tellSoon();
  }
  return topic;
}

/** Calls `listener` with each change; returns what ends it. */
export function subscribe(name: string, listener: Listener): () => void {
  const topic = topicOf(name);
  topic.listeners.add(listener);
  topic.isLeft = false;
  return () => {
    topic.listeners.delete(listener);
    if (topic.listeners.size > 0) return;
    topic.isLeft = true;
    tellSoon();
  };
}

/** The latest items of a topic that somebody subscribes to. */
export function itemsOf(name: string): ReadonlySignal<Items | null | undefined> {
  return topicOf(name).items;
}
