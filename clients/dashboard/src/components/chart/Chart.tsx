// A titled chart of expressions, which can also be read as a table.
import { useComputed, useSignal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { type Expression, LINES_MAX, useLines } from '../../data/series.ts';
import { Empty, Problem } from '../Empty.tsx';
import { Panel } from '../Panel.tsx';
import { DataTable } from './DataTable.tsx';
import { Plot, type PlotProps } from './Plot.tsx';

interface Props extends Omit<PlotProps, 'lines'> {
  expressions: Expression[];
  /** What to do when there is nothing. */
  empty?: ComponentChildren;
  actions?: ComponentChildren;
  note?: string;
  wide?: boolean;
  /** Colours lines by their name. */
  colourOf?: (name: string) => string;
}

export function Chart({ expressions, empty, actions, note: about = '', wide, colourOf, ...plot }: Props): JSX.Element {
  const found = useLines(expressions);
  const coloured = useComputed(() => {
    const { lines, ...rest } = found.value;
    return { ...rest, lines: colourOf ? lines.map((line) => ({ ...line, color: colourOf(line.name) })) : lines };
  });
  const lines = colourOf ? coloured : found;
  const isTable = useSignal(false);
  const { lines: shown, total, loading, error } = lines.value;
  const height = plot.height ?? 180;
  const toggle = (event: KeyboardEvent): void => {
    const isField = (event.target as Element).matches('input, textarea, select');
    if (event.key === 'v' && !isField && !event.ctrlKey && !event.metaKey) isTable.value = !isTable.value;
  };
  const button = (
    <button type="button" class="quiet" aria-pressed={isTable.value} onClick={() => (isTable.value = !isTable.value)}>
      Table
    </button>
  );
  const note = total > LINES_MAX ? `top ${LINES_MAX} of ${total}` : about;
  return (
    <Panel title={plot.title} note={note} busy={loading && shown.length > 0} wide={wide ?? false} onKeyDown={toggle}
      actions={<>{actions}{shown.length > 0 && button}</>}>
      {error && <Problem error={error} />}
      {!error && shown.length === 0 && (
        <div class="plot-empty" style={{ minHeight: `${height}px` }}>
          {loading ? <span class="muted">Loading…</span> : <Empty>{empty ?? 'Nothing was measured in this time.'}</Empty>}
        </div>
      )}
      {shown.length > 0 && (isTable.value ? <DataTable lines={lines} title={plot.title} unit={plot.unit} height={height} /> : <Plot {...plot} lines={lines} />)}
    </Panel>
  );
}
