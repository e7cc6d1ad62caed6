// All that is about policies, caches and batchers, loaded together when the first of it is opened.
import '../styles/control.css';

export { BatchPage } from './Batch.tsx';
export { CachePage } from './Cache.tsx';
export { PoliciesPage } from './Policies.tsx';
export { PolicyPage } from './Policy.tsx';
