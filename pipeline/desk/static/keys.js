/** The keyboard: all of the work without a mouse. */
import { byId } from './dom.js';
import { section } from './alerts.js';
import { select, store } from './store.js';
import { act } from './actions.js';
import { cursorOn, moveCursor } from './queue.js';
import { follow, showAll } from './map.js';
import { showBudget } from './budget.js';
import { showKeys, showSearch } from './help.js';

const current = () => (store.selected?.kind === 'alert' ? store.selected.id : store.selected ? null : store.cursor);

/** @param {string} key @returns {boolean} whether it was ours */
function press(key) {
  const id = current();
  const a = id ? store.alerts.get(id) : null;
  switch (key) {
    case 'j': case 'ArrowDown': moveCursor(1); return true;
    case 'k': case 'ArrowUp': moveCursor(-1); return true;
    case 'Enter': if (store.cursor && !store.selected) select({ kind: 'alert', id: store.cursor }); return true;
    case 'a':
      if (a && id && a.acknowledged_at_us == null && section(a) !== 'closed') void act(id, 'acknowledge').then((done) => { if (done) cursorOn(id); });
      return true;
    case 'n': case 's': case 'h': case 'c': {
      if (!a || !id || section(a) === 'closed') return true;
      select({ kind: 'alert', id });
      const button = { n: 0, s: 1, h: 2, c: 3 }[key];
      setTimeout(() => /** @type {any} */ (document.querySelectorAll('#drawer .acts > button:not(.primary)')[button])?.click(), 0);
      return true;
    }
    case 'm': showAll(); return true;
    case 'f': if (store.selected) follow(); return true;
    case 'b': void showBudget(); return true;
    case '/': showSearch(); return true;
    case '?': showKeys(); return true;
    case 'Escape': document.body.classList.remove('showmap'); select(null); return true;
    default: return false;
  }
}

export function startKeys() {
  addEventListener('keydown', (event) => {
    const at = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || byId('dialog').open) return;
    if (at.matches('input, textarea, select')) return;
    if (event.key === 'Enter' && at.matches('button, a, [role=button]')) return;
    if (at.closest('#map') && event.key.startsWith('Arrow')) return; // the map is moved by these
    if (press(event.key)) event.preventDefault();
  });
}
