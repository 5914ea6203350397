/** The drawer: what is selected. Built once for a selection, then patched, so that nothing that is being typed is lost. */
import { byId } from './dom.js';
import { on, select, store } from './store.js';
import { alertPage } from './alertpage.js';
import { vehicleCard } from './vehiclecard.js';

/** @type {?{patch: () => void, close?: () => void}} */
let page = null;
let shown = '';

function render() {
  const what = store.selected;
  const key = what ? `${what.kind} ${what.id}` : '';
  if (key !== shown) {
    shown = key;
    page?.close?.();
    const drawer = byId('drawer');
    drawer.hidden = !what;
    document.body.classList.toggle('open', !!what);
    drawer.replaceChildren();
    page = what ? (what.kind === 'alert' ? alertPage : vehicleCard)(drawer, what.id) : null;
    if (what) {
      document.body.classList.remove('showmap');
      if (matchMedia('(max-width: 700px)').matches) scrollTo(0, 0);
    }
  }
  page?.patch();
}

export const back = () => select(null);

export function startDrawer() {
  on(['select', 'alerts', 'positions', 'clock', 'pending', 'link'], render);
  setInterval(() => page?.patch(), 1000);
}
