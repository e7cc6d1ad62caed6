// What stands around every page: navigation, time range, live state.
import type { ComponentChildren, JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { useSignal } from '@preact/signals';
import { firing, useActiveAlerts } from '../data/alerts.ts';
import { handleKey } from '../data/keys.ts';
import { GROUPS, isHere } from '../data/nav.ts';
import { href, path } from '../data/url.ts';
import { Help } from './Help.tsx';
import { Icon } from './Icon.tsx';
import { Palette } from './Palette.tsx';
import { TopBar } from './TopBar.tsx';
import { Toasts } from './Toasts.tsx';

function Navigation({ onGo }: { onGo: () => void }): JSX.Element {
  const alerts = useActiveAlerts();
  const open = firing(alerts.value.data ?? []).length;
  return (
    <div onClick={onGo}>
      {GROUPS.map((group) => (
        <div key={group.title} class="group">
          <p id={`group-${group.title}`}>{group.title}</p>
          <ul aria-labelledby={`group-${group.title}`}>
            {group.places.map((place) => (
              <li key={place.to}>
                <a href={href(place.to)} aria-current={isHere(place, path.value) ? 'page' : undefined}>
                  <Icon path={place.icon} />
                  <span>{place.title}</span>
                  {place.to === '/alerts' && open > 0 && <b class="badge" aria-label={`${open} firing`}>{open}</b>}
                </a>
              </li>
            ))}
          </ul>
        </div>
      ))}
    </div>
  );
}

export function Shell({ title, children }: { title: string; children: ComponentChildren }): JSX.Element {
  const isOpen = useSignal(false);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === 'Escape') isOpen.value = false;
      handleKey(event);
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, []);
  return (
    <div class={`shell${isOpen.value ? ' open' : ''}`}>
      <a class="skip" href="#main">Skip to the page</a>
      <nav class="side" id="side" aria-label="Pages">
        <a class="brand" href={href('/')} aria-label="FastBreak, overview">
          <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
            <rect width="32" height="32" rx="7" class="mark" />
            <path d="M5 19h5l3-9 5 14 3-9h6" fill="none" stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round" />
          </svg>
          <span>FastBreak</span>
        </a>
        <Navigation onGo={() => (isOpen.value = false)} />
      </nav>
      <button type="button" class="veil" aria-label="Close the navigation" tabIndex={-1} onClick={() => (isOpen.value = false)} />
      <div class="body">
        <TopBar title={title} isOpen={isOpen.value} onMenu={() => (isOpen.value = !isOpen.value)} />
        <main id="main" tabIndex={-1} aria-label={title}>{children}</main>
      </div>
      <Palette />
      <Help />
      <Toasts />
    </div>
  );
}
