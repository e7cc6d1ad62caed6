// The pages, as the navigation, the palette and the shortcuts know them.
export interface Place {
  title: string;
  to: string;
  /** Second key after `g`. */
  key: string;
  icon: string;
}

export interface Group {
  title: string;
  places: Place[];
}

/** Icons are paths of a 16 by 16 box. */
export const GROUPS: Group[] = [
  {
    title: 'Observe',
    places: [
      { title: 'Overview', to: '/', key: 'o', icon: 'M2 9h3l2-5 3 9 2-6h2' },
      { title: 'Services', to: '/services', key: 's', icon: 'M2 3h12v4H2zM2 9h12v4H2zM5 5h.01M5 11h.01' },
      { title: 'Traces', to: '/traces', key: 't', icon: 'M2 3h9M4 6.5h6M6 10h8M8 13.5h4' },
      { title: 'Service graph', to: '/graph', key: 'n', icon: 'M2 6h4v4H2zM10 2h4v4h-4zM10 10h4v4h-4zM6 7.5l4-3M6 8.5l4 3' },
      { title: 'Explore', to: '/explore', key: 'm', icon: 'M2 2v12h12M5 10l3-4 2 2 3-4' },
    ],
  },
  {
    title: 'Alert',
    places: [
      { title: 'Alerts', to: '/alerts', key: 'a', icon: 'M4 11V7a4 4 0 0 1 8 0v4l1 1H3zM7 14h2' },
      { title: 'Rules', to: '/alerts/rules', key: 'r', icon: 'M2 5h7M12 5h2M2 11h2M7 11h7M10.5 3v4M5.5 9v4' },
      { title: 'Silences', to: '/silences', key: 'i', icon: 'M3 6h2l3-3v10l-3-3H3zM11 6l3 4M14 6l-3 4' },
      { title: 'Receivers', to: '/receivers', key: 'c', icon: 'M2 4h12v9H2zM2 4l6 5 6-5' },
    ],
  },
  {
    title: 'Control',
    places: [
      { title: 'Cache', to: '/cache', key: 'h', icon: 'M3 4c0-1 2.2-2 5-2s5 1 5 2-2.2 2-5 2-5-1-5-2zM3 4v8c0 1 2.2 2 5 2s5-1 5-2V4M3 8c0 1 2.2 2 5 2s5-1 5-2' },
      { title: 'Batching', to: '/batch', key: 'b', icon: 'M2 3h3v3H2zM2 10h3v3H2zM6.5 4.5h2L10 8M6.5 11.5h2L10 8M11 6h3v4h-3z' },
      { title: 'Policies', to: '/policies', key: 'p', icon: 'M4 2h8v12H4zM6.5 5.5h3M6.5 8h3M6.5 10.5h1.5' },
    ],
  },
  {
    title: 'Operate',
    places: [
      { title: 'System', to: '/system', key: 'y', icon: 'M3 3h10v7H3zM6 13h4M8 10v3' },
      { title: 'Send data', to: '/start', key: 'd', icon: 'M8 11V3M5 6l3-3 3 3M3 13h10' },
    ],
  },
];

export const PLACES: Place[] = GROUPS.flatMap((group) => group.places);

/** True when `path` is the place or below it, and no other place is nearer. */
export function isHere(place: Place, path: string): boolean {
  const covers = (to: string): boolean => path === to || (to !== '/' && path.startsWith(`${to}/`));
  if (!covers(place.to)) return false;
  return !PLACES.some((other) => other.to.length > place.to.length && covers(other.to));
}
