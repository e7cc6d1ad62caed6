// Builds into dist/, which the binary embeds. Nothing is inlined: the page's policy allows no inline script or style.
import { defineConfig } from 'vite';

const server = process.env.FASTBREAK_SERVER ?? 'http://127.0.0.1:3001';

export default defineConfig({
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    emptyOutDir: false,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: {
    proxy: {
      '/api': server,
      '/health': server,
      '/prometheus': server,
      '/ws': { target: server, ws: true, changeOrigin: true },
    },
  },
});
