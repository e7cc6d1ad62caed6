// Who put an override and why, or which rule did.
import type { JSX } from 'preact';
import type { EndedOverride, Override } from '../../data/overrides.ts';
import { href } from '../../data/url.ts';

export function OverrideBy({ one: { author, reason, ruleId } }: { one: Override | EndedOverride }): JSX.Element {
  return <small class="muted">{author || 'nobody named'}{reason && `: ${reason}`}{ruleId && <> · <a href={href(`/alerts/rules/${encodeURIComponent(ruleId)}`)}>rule {ruleId}</a></>}</small>;
}
