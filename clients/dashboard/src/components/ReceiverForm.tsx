// A receiver, made or changed. Secrets go in and never come back.
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Receiver } from '../data/alerts.ts';
import { ApiError, call, words } from '../data/fetch.ts';
import { KINDS, textsOf, written } from '../data/receivers.ts';
import { Problem } from './Empty.tsx';
import { tell } from './Toasts.tsx';

interface Props {
  receiver: Receiver | null;
  onDone: () => void;
}

export function ReceiverForm({ receiver, onDone }: Props): JSX.Element {
  const [id, kind] = [useSignal(receiver?.id ?? ''), useSignal(receiver?.kind ?? 'slack')];
  const texts = useSignal(textsOf(receiver));
  const isOn = useSignal(receiver?.enabled ?? true);
  const error = useSignal<ApiError | null>(null);
  const fail = (failure: unknown): void => {
    error.value = failure instanceof ApiError ? failure : new ApiError(0, words(failure));
  };
  const path = `/api/receivers/${encodeURIComponent(receiver?.id ?? '')}`;
  const save = async (event: Event): Promise<void> => {
    event.preventDefault();
    const body = { id: id.value.trim(), kind: kind.value, enabled: isOn.value, ...written(kind.value, texts.value, receiver) };
    try {
      if (receiver) await call('PUT', path, { body: { ...body, revision: receiver.revision } });
      else await call('POST', '/api/receivers', { body });
      tell(`${body.id} is saved.`);
      onDone();
    } catch (failure) {
      fail(failure);
    }
  };
  const remove = async (): Promise<void> => {
    if (!receiver || !window.confirm(`Delete ${receiver.id}? What was sent to it stays in the log.`)) return;
    try {
      await call('DELETE', `${path}?revision=${receiver.revision}`);
      onDone();
    } catch (failure) {
      fail(failure);
    }
  };
  return (
    <form class="fields" onSubmit={(event) => void save(event)} autocomplete="off">
      <label>Name<input value={id.value} required disabled={receiver !== null} placeholder="ops-slack" spellcheck={false} onInput={(event) => (id.value = event.currentTarget.value)} /></label>
      <label>
        Kind
        <select value={kind.value} disabled={receiver !== null} onChange={(event) => (kind.value = event.currentTarget.value)}>
          {Object.keys(KINDS).map((name) => <option key={name} value={name}>{name}</option>)}
        </select>
      </label>
      {(KINDS[kind.value] ?? []).map((field) => {
        const secret = receiver?.secrets[field.name];
        const placeholder = secret?.set ? `set${secret.last4 ? `, ends with ${secret.last4}` : ''}` : (field.placeholder ?? '');
        const hidden = field.isSecret ? { type: 'password' as const } : {};
        return (
          <label key={`${kind.value} ${field.name}`} class="grow">
            {field.title}
            <input {...hidden} value={texts.value[field.name] ?? ''} required={!field.isOptional && !secret?.set} placeholder={placeholder}
              autocomplete="off" spellcheck={false} onInput={(event) => (texts.value = { ...texts.value, [field.name]: event.currentTarget.value })} />
          </label>
        );
      })}
      <label class="check whole"><input type="checkbox" checked={isOn.value} onChange={(event) => (isOn.value = event.currentTarget.checked)} />It is told of alerts</label>
      {error.value && <Problem error={error.value} />}
      <p class="buttons whole">
        <button type="submit" class="primary">{receiver ? 'Save' : 'Create'}</button>
        <button type="button" onClick={onDone}>Cancel</button>
        {receiver && <button type="button" class="danger" onClick={() => void remove()}>Delete</button>}
      </p>
    </form>
  );
}
