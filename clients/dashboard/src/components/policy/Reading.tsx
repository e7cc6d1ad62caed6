// What a policy says, in sentences; what nobody wrote is as by default.
import type { ReadonlySignal } from '@preact/signals';
import type { JSX } from 'preact';
import { sentences } from '../../data/policy-words.ts';
import { isForWords, type Policy } from '../../data/policy.ts';
import { Panel } from '../Panel.tsx';

export function Reading({ policy }: { policy: ReadonlySignal<Policy> }): JSX.Element {
  const { value } = policy;
  return (
    <Panel title="What it says" note={isForWords(value)}>
      {value.enabled === false && <p class="pad bad">It is off: instances go back to what is in their code.</p>}
      <div class="says">
        {sentences(value).map(({ title, said }) => (
          <section key={title} aria-label={title}>
            <h3>{title}</h3>
            <ul>
              {said.map(({ path, text, isUsual }) => (
                <li key={path} class={isUsual ? 'muted' : ''}>{text}{isUsual && <small> default</small>}</li>
              ))}
            </ul>
          </section>
        ))}
      </div>
    </Panel>
  );
}
