// The page's one socket: subscriptions, resumed by number after a drop.
import { type ReadonlySignal, signal } from '@preact/signals';
import { paused } from './range.ts';
import { type Items, merge, type Message, type Update } from './wire.ts';

export type { Items, Update } from './wire.ts';
export type LiveState = 'connecting' | 'live' | 'offline';

type Listener = (update: Update) => void;

interface Topic {
  listeners: Set<Listener>;
  seq: number | null;
  /** Of which server the number is. */
  instance: string;
  items: ReturnType<typeof signal<Items | null>>;
  failure: ReturnType<typeof signal<string | null>>;
}

const RETRY_FIRST_MS = 300;
const RETRY_MOST_MS = 3000;
/** A hidden page lets go of its socket after so long. */
const HIDDEN_MS = 60_000;
/** The server closes for more. */
const TOPICS_MAX = 50;

export const state = signal<LiveState>('connecting');
/** Grows with each connection: what is not numbered is asked for anew. */
export const connections = signal(0);

const topics = new Map<string, Topic>();
let socket: WebSocket | null = null;
let instance = '';
let retry = RETRY_FIRST_MS;
let timer = 0;
let hiding = 0;

function say(message: object): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function ask(name: string, topic: Topic): void {
  const known = topic.seq !== null && topic.instance === instance;
  say(known ? { op: 'subscribe', topic: name, resume: { instance, seq: topic.seq } } : { op: 'subscribe', topic: name });
}

/** Subscriptions go out a few at a time: the server takes 20 messages a second. */
function askAll(): void {
  const names = [...topics.keys()];
  const send = (from: number): void => {
    for (const name of names.slice(from, from + 15)) {
      const topic = topics.get(name);
      if (topic) ask(name, topic);
    }
    if (from + 15 < names.length) setTimeout(send, 1100, from + 15);
  };
  send(0);
}

function take(message: Message): void {
  if (message.kind === 'hello') {
    instance = message.instance ?? '';
    retry = RETRY_FIRST_MS;
    state.value = 'live';
    connections.value += 1;
    askAll();
    return;
  }
  const topic = topics.get(message.topic ?? '');
  if (!topic) return;
  topic.seq = message.seq ?? null;
  topic.instance = instance;
  topic.failure.value = message.kind === 'failure' ? (message.detail ?? 'failed') : null;
  if (message.kind === 'failure' || paused.value) return;
  const items = message.items ?? {};
  topic.items.value = message.kind === 'snapshot' ? items : merge(topic.items.value ?? {}, items);
  for (const listener of topic.listeners) listener({ kind: message.kind, at: message.at ?? Date.now(), items });
}

function connect(): void {
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
  left?.close();
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = window.setTimeout(leave, HIDDEN_MS);
  else connect();
});

export function start(): void {
  connect();
}

function topicOf(name: string): Topic {
  let topic = topics.get(name);
  if (!topic) {
    topic = { listeners: new Set(), seq: null, instance: '', items: signal(null), failure: signal(null) };
    topics.set(name, topic);
    if (topics.size <= TOPICS_MAX) ask(name, topic);
  }
  return topic;
}

/** Calls `listener` with each change; returns what ends it. */
export function subscribe(name: string, listener: Listener): () => void {
  const topic = topicOf(name);
  topic.listeners.add(listener);
  return () => {
    topic.listeners.delete(listener);
    if (topic.listeners.size > 0 || topics.get(name) !== topic) return;
    topics.delete(name);
    say({ op: 'unsubscribe', topic: name });
  };
}

/** The latest items of a topic that somebody subscribes to. */
export function itemsOf(name: string): ReadonlySignal<Items | null | undefined> {
  return topicOf(name).items;
}
