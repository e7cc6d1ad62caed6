// A table that sorts by its columns; the order is kept in the address.
import type { ComponentChildren, JSX } from 'preact';
import { param, set } from '../data/url.ts';

export interface Column<T> {
  name: string;
  title: string;
  cell: (row: T) => ComponentChildren;
  /** What it is sorted by; a column without is not. */
  by?: (row: T) => number | string;
  number?: boolean;
  /** Left out on a phone. */
  wide?: boolean;
}

interface Props<T> {
  name: string;
  label: string;
  columns: Column<T>[];
  rows: T[];
  id: (row: T) => string;
  sort: string;
  most?: number;
}

function compare(a: number | string, b: number | string): number {
  return typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b));
}

export function Table<T>({ name, label, columns, rows, id, sort, most = 200 }: Props<T>): JSX.Element {
  const order = param(`${name}.sort`) || sort;
  const isDown = order.startsWith('-');
  const column = columns.find((one) => one.name === order.replace('-', ''));
  const by = column?.by;
  const sorted = by ? [...rows].sort((a, b) => (isDown ? -1 : 1) * compare(by(a), by(b))) : rows;
  const press = (one: Column<T>): void => {
    const next = order === one.name ? `-${one.name}` : order === `-${one.name}` ? one.name : one.number ? `-${one.name}` : one.name;
    set({ [`${name}.sort`]: next === sort ? null : next }, true);
  };
  const direction = (one: Column<T>): 'ascending' | 'descending' | undefined => (one === column ? (isDown ? 'descending' : 'ascending') : undefined);
  const kind = (one: Column<T>): string => `${one.number ? 'num' : ''}${one.wide ? ' only-wide' : ''}`;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map((one) => (
              <th scope="col" key={one.name} class={kind(one)} aria-sort={direction(one)}>
                {one.by ? <button type="button" class="sort" onClick={() => press(one)}>{one.title}</button> : one.title || <span class="sr">over time</span>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, most).map((row) => (
            <tr key={id(row)}>
              {columns.map((one, n) =>
                n === 0 ? <th scope="row" key={one.name} class={kind(one)}>{one.cell(row)}</th> : <td key={one.name} class={kind(one)}>{one.cell(row)}</td>,
              )}
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > most && <p class="muted below">top {most} of {sorted.length}</p>}
    </div>
  );
}
