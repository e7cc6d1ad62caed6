// A labelled line of text, or several, that says what is wrong with it.
import type { JSX } from 'preact';

interface Props {
  label: string;
  value: string;
  placeholder?: string;
  error?: string | undefined;
  wide?: boolean;
  required?: boolean;
  list?: string;
  /** Of a text of several lines. */
  rows?: number;
  onChange: (value: string) => void;
}

export function TextField({ label, value, placeholder = '', error, wide = false, required = false, list, rows, onChange }: Props): JSX.Element {
  const all = { value, placeholder, spellcheck: false, required, 'aria-invalid': error !== undefined };
  return (
    <label class={wide ? 'grow' : ''}>
      {label}
      {rows ? <textarea {...all} rows={rows} onInput={(event) => onChange(event.currentTarget.value)} />
        : <input {...all} {...(list ? { type: 'text' as const, list } : {})} onInput={(event) => onChange(event.currentTarget.value)} />}
      {error !== undefined && <small class="error">{error}</small>}
    </label>
  );
}
