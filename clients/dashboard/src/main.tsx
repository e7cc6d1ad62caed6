// Starts the page.
import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './styles/base.css';
import './styles/shell.css';
import './styles/parts.css';
import './styles/pages.css';
import { App } from './app.tsx';
import { connect } from './data/live.ts';
import { followLinks } from './data/url.ts';
import { startClock } from './data/use.ts';

const root = document.getElementById('app');
if (root) {
  document.addEventListener('click', followLinks);
  connect();
  startClock();
  render(<App />, root);
}
