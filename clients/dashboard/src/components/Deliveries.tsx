// Notifications that were sent, or could not be, with each attempt.
import type { JSX } from 'preact';
import type { Delivery } from '../data/alerts.ts';
import { call, words } from '../data/fetch.ts';
import { now } from '../data/range.ts';
import { atFull, span } from '../data/time.ts';
import { tell } from './Toasts.tsx';

const KINDS = { sent: 'ok', queued: 'warning', dead: 'critical' } as const;

function Log({ delivery }: { delivery: Delivery }): JSX.Element {
  return (
    <ol class="attempts">
      {delivery.log.map((attempt) => (
        <li key={attempt.number}>
          <span class="muted">{attempt.number}. {atFull(Date.parse(attempt.beganAt))}{attempt.endedAt ? `, ${span(Date.parse(attempt.endedAt) - Date.parse(attempt.beganAt))}` : ''}</span>
          <b>{attempt.outcome}{attempt.status === null ? '' : ` ${attempt.status}`}</b>
          <span>{attempt.detail ?? ''}</span>
        </li>
      ))}
      {delivery.nextAttemptAt && delivery.state === 'queued' && <li class="muted">next in {span(Date.parse(delivery.nextAttemptAt) - now.value)}</li>}
    </ol>
  );
}

export function Deliveries({ deliveries, again }: { deliveries: Delivery[]; again: () => void }): JSX.Element {
  const resend = async (delivery: Delivery): Promise<void> => {
    try {
      await call('POST', `/api/deliveries/${encodeURIComponent(delivery.id)}/resend`);
      tell(`Sent to ${delivery.receiver} once more.`);
    } catch (error) {
      tell(`Not sent: ${words(error)}`, true);
    }
    again();
  };
  return (
    <ul class="deliveries">
      {deliveries.map((delivery) => (
        <li key={delivery.id}>
          <details>
            <summary>
              <span class={`state ${KINDS[delivery.state]}`}>{delivery.state}</span>
              <b>{delivery.receiver}</b>
              <span>{delivery.reason}</span>
              <span class="muted">{delivery.attempts === 1 ? '1 attempt' : `${delivery.attempts} attempts`}</span>
              <time>{atFull(Date.parse(delivery.createdAt))}</time>
            </summary>
            <Log delivery={delivery} />
            {delivery.state === 'dead' && <button type="button" onClick={() => void resend(delivery)}>Send again</button>}
          </details>
        </li>
      ))}
    </ul>
  );
}
