// What each kind of receiver needs, and a receiver as it is written.
import type { Receiver } from './alerts.ts';

export interface Field {
  name: string;
  title: string;
  placeholder?: string;
  isSecret?: boolean;
  isOptional?: boolean;
  isList?: boolean;
}

export const KINDS: Record<string, Field[]> = {
  email: [
    { name: 'recipients', title: 'To', placeholder: 'ops@example.com, …', isList: true },
    { name: 'from', title: 'From', placeholder: 'alerts@example.com' },
    { name: 'host', title: 'Mail server', placeholder: 'smtp.example.com' },
    { name: 'port', title: 'Port', placeholder: '587', isOptional: true },
    { name: 'username', title: 'User', isOptional: true },
    { name: 'password', title: 'Password', isSecret: true, isOptional: true },
  ],
  slack: [
    { name: 'webhookUrl', title: 'Webhook URL', isSecret: true },
    { name: 'channel', title: 'Channel', placeholder: 'of the webhook', isOptional: true },
  ],
  webhook: [
    { name: 'url', title: 'URL', isSecret: true },
    { name: 'signingKey', title: 'Signing key', placeholder: 'whsec_…', isSecret: true, isOptional: true },
  ],
  teams: [{ name: 'url', title: 'Webhook URL', isSecret: true }],
  pagerduty: [{ name: 'routingKey', title: 'Routing key', isSecret: true }],
  telegram: [
    { name: 'botToken', title: 'Bot token', isSecret: true },
    { name: 'chatId', title: 'Chat' },
  ],
};

export type Texts = Record<string, string>;

/** What is shown of a receiver to be changed; secrets never come back. */
export function textsOf(receiver: Receiver | null): Texts {
  const text = (value: unknown): string => (Array.isArray(value) ? value.join(', ') : String(value ?? ''));
  return Object.fromEntries(Object.entries(receiver?.settings ?? {}).map(([name, value]) => [name, text(value)]));
}

/** The settings and secrets to send: settings that the form does not know stay, and so do secrets that were not typed. */
export function written(kind: string, texts: Texts, before: Receiver | null): { settings: Record<string, unknown>; secrets: Texts } {
  const settings: Record<string, unknown> = { ...before?.settings };
  const secrets: Texts = {};
  for (const { name, isSecret, isList } of KINDS[kind] ?? []) {
    const text = (texts[name] ?? '').trim();
    if (isSecret && text) secrets[name] = text;
    if (isSecret) continue;
    if (!text) delete settings[name];
    else if (isList) settings[name] = text.split(',').map((one) => one.trim()).filter(Boolean);
    else settings[name] = name === 'port' ? Number(text) : text;
  }
  return { settings, secrets };
}
