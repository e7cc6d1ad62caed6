// An address that means nothing.
import type { JSX } from 'preact';
import { Empty } from '../components/Empty.tsx';
import { href } from '../data/url.ts';

export function NotFoundPage(): JSX.Element {
  return (
    <div class="page">
      <Empty>
        <p><b>There is no page at this address.</b></p>
        <p><a href={href('/')}>Overview</a> · press <kbd>/</kbd> to search</p>
      </Empty>
    </div>
  );
}
