// All that is about traces, loaded together when the first of it is opened.
import '../styles/traces.css';

export { GraphPage } from './Graph.tsx';
export { TracePage } from './Trace.tsx';
export { TracesPage } from './Traces.tsx';
export { Compare } from '../components/trace/Compare.tsx';
export { ServiceTraces } from '../components/trace/ServiceTraces.tsx';
