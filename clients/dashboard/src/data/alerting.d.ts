// What the server tells of alerts, rules, silences, receivers and deliveries; the words are those of its API document.
import type { components } from './schema.d.ts';

type Schemas = components['schemas'];
/** As it is answered: what may be left out when written is there. */
type Told<T> = { [K in keyof T]-?: Exclude<T[K], undefined> };

export type Severity = Schemas['Severity'];
export type Words = Record<string, string>;
export type Suppression = Schemas['Suppression'];
export type Transition = Told<Schemas['Transition']>;
export type Attempt = Told<Schemas['AttemptView']>;
export type Alert = Told<Omit<Schemas['Alert'], 'acknowledged'>> & { acknowledged: Told<Schemas['Acknowledgement']> | null };
export type Delivery = Told<Omit<Schemas['DeliveryView'], 'log' | 'state'>> & { log: Attempt[]; state: 'queued' | 'sent' | 'dead' };

export type AlertDetail = Alert & { transitions: Transition[]; deliveries: Delivery[]; chart: Told<Schemas['ChartView']> };

export type RuleHealth = Told<Schemas['HealthOfRule']>;

/** What every rule is answered with; the rest it only has when it was written. */
type Always = 'severity' | 'enabled' | 'cooldownMinutes' | 'notificationChannels';
export type RuleFields = Omit<Schemas['Rule'], Always> & Told<Pick<Schemas['Rule'], Always>>;
export type Rule = RuleFields & Pick<Schemas['RuleView'], 'revision' | 'origin' | 'createdAt' | 'updatedAt' | 'alerts'> & { health: RuleHealth };
export type Revision = Omit<Schemas['RuleRevisionView'], 'rule'> & { rule: RuleFields };

export type Backtest = Omit<Schemas['BacktestView'], 'alerts'> & { alerts: Alert[] };
export type BacktestSummary = Schemas['SummaryView'];

export type Matcher = Told<Schemas['LabelMatcher']>;
export type Silence = Told<Omit<Schemas['SilenceView'], 'matchers' | 'state'>> & { matchers: Matcher[]; state: 'pending' | 'active' | 'expired' };
export type Receiver = Told<Schemas['ReceiverView']>;
export type Tried = Told<Schemas['TriedView']>;
