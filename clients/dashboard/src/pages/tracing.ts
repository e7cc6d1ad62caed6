// The pages about traces, loaded together when the first of them is opened.
import '../styles/traces.css';

export { GraphPage } from './Graph.tsx';
export { TracePage } from './Trace.tsx';
export { TracesPage } from './Traces.tsx';
