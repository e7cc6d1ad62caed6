// A labelled line of text that says what is wrong with it.
import type { JSX } from 'preact';

interface Props {
  label: string;
  value: string;
  placeholder?: string;
  error?: string | undefined;
  wide?: boolean;
  required?: boolean;
  list?: string;
  onChange: (value: string) => void;
}

export function TextField({ label, value, placeholder = '', error, wide = false, required = false, list, onChange }: Props): JSX.Element {
  return (
    <label class={wide ? 'grow' : ''}>
      {label}
      <input value={value} placeholder={placeholder} spellcheck={false} required={required} aria-invalid={error !== undefined} {...(list ? { type: 'text' as const, list } : {})}
        onInput={(event) => onChange(event.currentTarget.value)} />
      {error !== undefined && <small class="error">{error}</small>}
    </label>
  );
}
