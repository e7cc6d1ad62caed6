// Every shortcut.
import type { JSX } from 'preact';
import { helpOpen, SHORTCUTS } from '../data/keys.ts';
import { singleKeys } from '../data/prefs.ts';
import { Dialog } from './Dialog.tsx';

export function Help(): JSX.Element | null {
  if (!helpOpen.value) return null;
  return (
    <Dialog title="Keyboard shortcuts" onClose={() => (helpOpen.value = false)}>
      <dl class="shortcuts">
        {SHORTCUTS.map(([keys, what]) => (
          <div key={keys}>
            <dt><kbd>{keys}</kbd></dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input type="checkbox" checked={singleKeys.value} onChange={(event) => (singleKeys.value = event.currentTarget.checked)} />
        Shortcuts without ⌘ or Ctrl
      </label>
    </Dialog>
  );
}
