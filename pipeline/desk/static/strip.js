/** Convoys as lines along their road: above the whole way with its checkpoints, below the order to scale, gaps in metres of road. */
import { byId, el, svg, vars } from './dom.js';
import { on, select, store } from './store.js';
import { arrow } from './icons.js';
import { named, t, whole } from './words.js';
import { gravest } from './alerts.js';
import { isStale, sign } from './fleet.js';

const FARTHEST_M = 2000;   // farther off the road than this, a place along it says nothing
const SHORTEST_M = 1000;

const dot = () => svg('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, svg('circle', { cx: 8, cy: 8, r: 4 }));

/** @param {any} c */
function convoy(c) {
  const known = c.units.filter((/** @type {any} */ u) => u.m != null && u.off_m <= FARTHEST_M && store.positions.has(u.id)).sort((/** @type {any} */ a, /** @type {any} */ b) => b.m - a.m);
  const lost = c.units.filter((/** @type {any} */ u) => !known.includes(u));
  const whole_ = (/** @type {number} */ m) => `${Math.min(100, Math.max(0, (m / c.length_m) * 100)).toFixed(2)}%`;
  const front = known[0]?.m;
  const km = front == null ? null : c.km_at_start + (c.km_sign * front) / 1000;
  const above = el('div', { class: 'line' });
  if (front != null) above.append(vars(el('span', { class: 'done' }), { '--w': whole_(front) }));
  c.checkpoints.forEach((/** @type {any} */ p, /** @type {number} */ i) => above.append(vars(el('span', { class: `pt cp${front != null && p.m <= front ? ' passed' : ''}${i > 0 && i < c.checkpoints.length - 1 && i % 2 ? ' minor' : ''}` }, dot(), el('bdi', {}, named(p.name))), { '--x': whole_(p.m) })));
  if (front != null) above.append(vars(el('span', { class: 'pt unit' }, arrow('principal', '', 90)), { '--x': whole_(front) }));

  const rear = known.at(-1)?.m ?? 0;
  const length = Math.max(SHORTEST_M, (front ?? 0) - rear);
  const at = (/** @type {number} */ m) => `${(100 - (((front ?? 0) - m) / length) * 100).toFixed(2)}%`;
  const below = el('div', { class: 'line' });
  let last = Infinity;
  let low = false;
  known.forEach((/** @type {any} */ u, /** @type {number} */ i) => {
    low = (last - u.m) / length < 0.08 && !low;   // its sign would lie on its neighbour's: one row lower
    last = u.m;
    const a = gravest(u.id);
    const old = isStale(/** @type {any} */ (store.positions.get(u.id)));
    if (i > 0) {
      const before = known[i - 1];
      const gap = before.m - u.m;
      const unsure = old || isStale(/** @type {any} */ (store.positions.get(before.id)));
      const over = gap > c.limit_m && !unsure;
      if (over) below.append(vars(el('span', { class: 'over-limit' }), { '--x': at(u.m), '--w': `${((gap / length) * 100).toFixed(2)}%` }));
      if (over || gap / length > 0.035) below.append(vars(el('span', { class: `gap ${over ? 'high' : ''}` }, whole(unsure ? t('unknown') : metres(gap))), { '--x': at(u.m + gap / 2) }));
    }
    below.append(vars(el('span', { class: `pt unit ${store.vehicles[u.id]?.role || ''} ${a?.severity || ''}${old ? ' old' : ''}${low ? ' lower' : ''}`, onclick: () => select({ kind: 'vehicle', id: u.id }) }, arrow(store.vehicles[u.id]?.role || 'unknown', '', 90), el('b', {}, el('bdi', {}, sign(u.id)))), { '--x': at(u.m) }));
  });
  const aside = known.filter((/** @type {any} */ u) => u.off_m > c.off_limit_m).map((/** @type {any} */ u) => `${sign(u.id)} ${metres(u.off_m)} ${t('off road')}`);
  const missing = lost.map((/** @type {any} */ u) => `${sign(u.id)} ${u.m == null ? t('never heard') : t('away')}`).concat(aside).join(', ');
  return el('article', { class: 'convoy' },
    el('div', {}, el('h3', {}, `${t('Convoy')} ${named(c.name)}`), el('p', { class: 'dim' }, km == null ? t('not on the road') : el('bdi', {}, whole(`${c.road} km ${km.toFixed(0)}`))), el('small', { class: 'dim' }, missing || el('bdi', {}, whole(`${t('gap limit')} ${c.limit_m} m`)))),
    el('div', {}, above, below));
}

/** @param {number} m */
const metres = (m) => (m < 9950 ? `${(Math.round(m / 10) * 10).toLocaleString('en')} m` : `${Math.round(m / 1000)} km`);

function render() {
  if (!store.session) return;
  document.body.classList.toggle('nostrip', store.convoys.length === 0);
  byId('strip').replaceChildren(...store.convoys.map(convoy));
}

export function startStrip() {
  on(['convoys', 'alerts', 'session'], render);
  setInterval(() => { if (store.convoys.length) render(); }, 10000);
}
