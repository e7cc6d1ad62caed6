// A page whose code is loaded when it is first opened.
import { useSignal } from '@preact/signals';
import type { ComponentType, JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { ApiError } from '../data/fetch.ts';
import { Loading, Problem } from './Empty.tsx';

type Load<P> = () => Promise<ComponentType<P>>;

/** The page itself once it is here; what is here already is drawn at once. */
export function lazy<P extends object>(load: Load<P>): ComponentType<P> {
  let known: ComponentType<P> | null = null;
  return function Lazy(props: P): JSX.Element {
    const [isThere, failed] = [useSignal(known !== null), useSignal(false)];
    const start = (): void => {
      failed.value = false;
      load().then(
        (page) => {
          known = page;
          isThere.value = true;
        },
        () => (failed.value = true),
      );
    };
    useEffect(() => {
      if (!known) start();
    }, []);
    if (failed.value) return <Problem error={new ApiError(0, 'This page could not be loaded; after an upgrade, load it anew.')} again={start} />;
    const Page = known;
    return isThere.value && Page ? <Page {...props} /> : <Loading />;
  };
}
