/** The two dialogs: the keys, and the search for a call sign, a place or an alert. */
import { byId, el } from './dom.js';
import { select, store } from './store.js';
import { section } from './alerts.js';
import { sign } from './fleet.js';
import { named, t } from './words.js';
import { showAt } from './map.js';

const KEYS = [['j k', 'next, previous alert'], ['Enter', 'open it'], ['a', 'acknowledge'], ['n', 'note'], ['s', 'shelve, or take off the shelf'], ['h', 'hand over'], ['c', 'close with its outcome'], ['b', 'how many alerts, against what people can handle'], ['/', 'search: call sign, place, alert'], ['m', 'show the whole map'], ['f', 'follow what is selected'], ['Esc', 'back'], ['?', 'these keys']];

/** @param {...any} content */
export function open(...content) {
  const dialog = byId('dialog');
  dialog.replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
}

export function showKeys() {
  open(el('h2', {}, t('Keys')), el('dl', { class: 'keys' }, KEYS.map(([key, words]) => [el('dt', {}, key.split(' ').map((k) => el('kbd', {}, k))), el('dd', {}, t(words))])));
}

/** @param {string} text */
function find(text) {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [];
  const has = (/** @type {string} */ s) => s.toLowerCase().includes(wanted);
  const out = [];
  for (const id of new Set([...Object.keys(store.vehicles), ...store.positions.keys()])) {
    const v = store.vehicles[id];
    if (has(id) || has(sign(id))) out.push({ name: sign(id), what: [t(v?.role || ''), v?.kind].join(' · '), go: () => { select({ kind: 'vehicle', id }); const p = store.positions.get(id); if (p) showAt(p.lon, p.lat); } });
  }
  for (const a of store.alerts.values()) if (section(a) !== 'closed' && (has(a.lead) || has(a.place))) out.push({ name: a.lead, what: t(a.severity), go: () => select({ kind: 'alert', id: a.id }) });
  for (const f of store.plan.features) {
    const { layer, name, label_at, kind } = f.properties;
    if ((layer === 'place' || layer === 'area' || layer === 'km_post') && Object.values(name || {}).some((n) => has(String(n)))) {
      const [lon, lat] = label_at || f.geometry.coordinates;
      out.push({ name: named(name), what: t(kind ? kind.replace(/_/g, ' ') : layer.replace('_', ' ')), go: () => showAt(lon, lat) });
    }
  }
  const exact = (/** @type {any} */ r) => (r.name.toLowerCase() === wanted ? 0 : r.name.toLowerCase().startsWith(wanted) ? 1 : 2);
  return out.sort((a, b) => exact(a) - exact(b)).slice(0, 12);
}

export function showSearch() {
  const list = el('ul', {});
  const input = el('input', { type: 'search', placeholder: t('Call sign, place, alert'), 'aria-label': t('Search'), autocomplete: 'off' });
  const take = (/** @type {any} */ r) => { byId('dialog').close(); r.go(); };
  const look = () => list.replaceChildren(...find(input.value).map((r) => el('li', {}, el('button', { onclick: () => take(r) }, el('span', {}, r.name), el('small', { class: 'dim' }, r.what)))));
  input.addEventListener('input', look);
  input.addEventListener('keydown', (/** @type {KeyboardEvent} */ e) => { if (e.key === 'Enter') { const r = find(input.value)[0]; if (r) take(r); } });
  open(input, list);
  input.focus();
}
