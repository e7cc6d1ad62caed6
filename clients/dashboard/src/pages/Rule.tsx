// A rule on one screen: what it watches, its threshold on the chart, and what it would have done.
import { type Signal, useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { Empty, Loading, Missing, Problem } from '../components/Empty.tsx';
import { Panel } from '../components/Panel.tsx';
import { Backtest } from '../components/rule/Backtest.tsx';
import { RuleForm } from '../components/rule/RuleForm.tsx';
import { RuleHealthLine } from '../components/rule/RuleHealthLine.tsx';
import { Revisions } from '../components/rule/Revisions.tsx';
import { Preview } from '../components/rule/Preview.tsx';
import { tell } from '../components/Toasts.tsx';
import type { Rule, RuleFields } from '../data/alerts.ts';
import { ApiError, call, words } from '../data/fetch.ts';
import { person } from '../data/prefs.ts';
import { changed, fieldsOf, idFrom, lacks, newRule, withThreshold } from '../data/rule.ts';
import { go, href, param } from '../data/url.ts';
import { useLoad } from '../data/use.ts';

interface Stored {
  rule: Rule | null;
  etag: string | null;
}

async function load(id: string, signal: AbortSignal): Promise<Stored> {
  if (id === 'new') return { rule: null, etag: null };
  const { data, etag } = await call<Rule>('GET', `/api/alerts/rules/${encodeURIComponent(id)}`, { signal });
  return { rule: data, etag };
}

function Editor({ stored, again }: { stored: Stored; again: () => void }): JSX.Element {
  const { rule, etag } = stored;
  const start = rule ? fieldsOf(rule) : newRule(param('condition'));
  const edited: Signal<RuleFields> = useSignal(start);
  const failure = useSignal<ApiError | null>(null);
  const isSaving = useSignal(false);
  const lack = useComputed(() => lacks(edited.value));
  const move = (threshold: number): void => {
    edited.value = withThreshold(edited.value, threshold, start);
  };
  const changes: string[] = rule ? changed(fieldsOf(rule), edited.value) : ['new'];

  const save = async (): Promise<void> => {
    isSaving.value = true;
    failure.value = null;
    const body = fieldsOf({ ...edited.value, id: rule?.id ?? (edited.value.id || idFrom(edited.value.name)) });
    try {
      if (rule) await call('PUT', `/api/alerts/rules/${encodeURIComponent(rule.id)}`, { body: { ...body, revision: rule.revision }, etag });
      else await call('POST', '/api/alerts/rules', { body });
      tell(`${body.name} is saved.`);
      if (rule) again();
      else go(`/alerts/rules/${encodeURIComponent(body.id)}`, true);
    } catch (error) {
      failure.value = error instanceof ApiError ? error : new ApiError(0, words(error));
    }
    isSaving.value = false;
  };
  const remove = async (): Promise<void> => {
    if (!rule || !window.confirm(`Delete ${rule.name}? Its history stays.`)) return;
    try {
      await call('DELETE', `/api/alerts/rules/${encodeURIComponent(rule.id)}`, { etag });
      go('/alerts/rules');
    } catch (error) {
      tell(`Not deleted: ${words(error)}`, true);
    }
  };
  const test = async (): Promise<void> => {
    if (!rule) return;
    await call('POST', `/api/alerts/rules/${encodeURIComponent(rule.id)}/test`, { body: { by: person.value || 'dashboard' } })
      .then(() => tell('A test notification is on its way.'))
      .catch((error: unknown) => tell(`Not sent: ${words(error)}`, true));
  };
  const conflict = failure.value && [409, 412].includes(failure.value.status);
  return (
    <>
      {rule && <RuleHealthLine rule={rule} />}
      <div class="rule">
        <Panel title={rule ? rule.name : 'New rule'} note={rule ? `revision ${rule.revision}, ${rule.origin}` : ''}>
          <RuleForm rule={edited} isNew={!rule} onThreshold={move} onSubmit={() => void save()}>
            {failure.value && <Problem error={failure.value} {...(conflict ? { again } : {})} />}
            <p class="buttons">
              <button type="submit" class="primary" disabled={isSaving.value || lack.value !== null || changes.length === 0}>{rule ? 'Save' : 'Create'}</button>
              {rule && <button type="button" onClick={() => void test()}>Send a test</button>}
              {rule && rule.origin !== 'default' && <button type="button" class="danger" onClick={() => void remove()}>Delete</button>}
              <span class="muted">{lack.value ?? (rule && changes.length > 0 ? `changed: ${changes.join(', ')}` : '')}</span>
            </p>
          </RuleForm>
        </Panel>
        <div class="stack">
          <Preview rule={edited} onThreshold={move} />
          <Backtest rule={edited} id={rule?.id ?? 'new'} isEdited={changes.length > 0} />
          {rule && <Revisions rule={rule} etag={etag} again={again} />}
        </div>
      </div>
    </>
  );
}

export function RulePage({ id }: { id: string }): JSX.Element {
  const loaded = useLoad((signal) => load(id, signal), id);
  const { data, error } = loaded.value;
  return (
    <div class="page">
      {error?.isMissing && (error.message.startsWith('there is nothing') ? <Missing what="Rules" /> : <Empty><p><b>There is no rule {id}.</b></p><p><a href={href('/alerts/rules')}>Rules</a></p></Empty>)}
      {error && !error.isMissing && <Problem error={error} again={loaded.again} />}
      {!data && !error && <Loading />}
      {data && <Editor stored={data} again={loaded.again} key={`${id}-${data.rule?.revision ?? 0}`} />}
    </div>
  );
}
