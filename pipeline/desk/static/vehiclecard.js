/** A vehicle's card: who it is, where, how fast, how sure, how old; its trail; its alerts. */
import { el, say, svg } from './dom.js';
import { select, store } from './store.js';
import { section } from './alerts.js';
import { now, span, when } from './time.js';
import { arrow, shape } from './icons.js';
import { lang, named, t, whole } from './words.js';
import { back } from './drawer.js';
import { isStale, sign } from './fleet.js';
import { follow, showAt } from './map.js';
import { trail } from './trail.js';
import { heading } from './alertpage.js';

/** @param {HTMLElement} drawer @param {string} id */
export function vehicleCard(drawer, id) {
  const v = store.vehicles[id];
  const convoy = store.convoys.find((c) => c.id === v?.convoy);
  const dd = () => el('dd', {});
  const p = { where: el('p', { class: 'where' }), speed: dd(), fix: dd(), accuracy: dd(), seen: dd(), received: dd(), off: dd(), alerts: el('ul', {}), alertsBox: el('div', { hidden: true }), chart: el('div', { class: 'later' }), follow: el('button', { onclick: follow }) };
  const fact = (/** @type {string} */ name, /** @type {any} */ node) => el('div', {}, el('dt', {}, t(name)), node);
  const words = [t(v?.role || 'not in the plan'), v?.kind, convoy && `${t('Convoy')} ${named(convoy.name)}`].filter(Boolean).join(' · ');
  p.alertsBox.append(el('h3', {}, t('ALERTS')), p.alerts);
  const h2 = el('h2', { tabindex: '-1' }, sign(id));
  drawer.append(el('div', { class: 'scroll' },
    el('div', { class: 'bar' }, arrow(v?.role || 'unknown', 'rolemark', 0), el('span', { class: 'dim' }, words), el('button', { class: 'back', onclick: back }, t('Back'), el('kbd', {}, 'Esc'))),
    h2, p.where,
    el('dl', { class: 'facts' }, fact('Moving', p.speed), fact('Last fix', p.fix), fact('Accuracy', p.accuracy), fact('Seen at', p.seen), fact('Received', p.received), fact('Off the road', p.off)),
    el('div', { class: 'go wall' }, el('button', { onclick: () => { const at = store.positions.get(id); if (at) showAt(at.lon, at.lat); } }, t('Show on map')), p.follow),
    p.alertsBox, p.chart));
  h2.focus({ preventScroll: true });
  let asked_ms = -1e9;
  let place = '';

  async function ask() {
    asked_ms = performance.now();
    const answer = await fetch(`/api/vehicles/${encodeURIComponent(id)}`).catch(() => null);
    const where = answer?.ok ? (await answer.json()).where : null;
    if (!where) return;
    place = where[lang()] || where.en;
    say(p.where, whole(place));
    say(p.off, where.off_m == null ? '?' : where.off_m < 15 ? t('on it') : whole(`${where.off_m} m`));
  }

  function patch() {
    const at = store.positions.get(id);
    if (!at) {
      say(p.where, t('Never heard.'));
      return;
    }
    say(p.speed, at.speed == null ? '?' : at.speed < 0.6 ? t('stands') : whole(`${Math.round(at.speed * 3.6)} km/h${heading(at.course)}`));
    say(p.fix, t('{time} ago', { time: span(now() - at.seen) }));
    say(p.accuracy, at.accuracy == null ? t('not said') : whole(`± ${Math.round(at.accuracy)} m`));
    say(p.seen, when(at.seen));
    const late = at.received - at.seen;
    say(p.received, late > 60e6 ? t('{time} late', { time: span(late) }) : t('at once'));
    p.fix.classList.toggle('over', isStale(at));
    p.received.classList.toggle('over', late > 60e6);
    say(p.follow, `${t('Follow')} ${sign(id)}`);
    const mine = [...store.alerts.values()].filter((a) => a.subject === id && section(a) !== 'closed');
    const key = mine.map((a) => `${a.id} ${a.seq}`).join();
    p.alertsBox.hidden = mine.length === 0;
    if (p.alerts.dataset.key !== key) {
      p.alerts.dataset.key = key;
      p.alerts.replaceChildren(...mine.map((a) => el('li', { class: `row ${a.severity} ${section(a) === 'needs' ? 'new' : 'ack'}${a.cleared_at_us != null ? ' ended' : ''}`, tabindex: '0', onclick: () => select({ kind: 'alert', id: a.id }), onkeydown: (/** @type {KeyboardEvent} */ e) => e.key === 'Enter' && select({ kind: 'alert', id: a.id }) }, shape(a.severity), el('div', {}, el('span', { class: 'word' }, t(a.severity).toUpperCase()), ' ', whole(a.lead)))));
    }
    chart();
    if (performance.now() - asked_ms > 5000) void ask();
  }

  function chart() {
    const points = trail.vehicle === id ? trail.points.filter((q) => q[3] != null) : [];
    const key = String(points.at(-1)?.[0] || 0);
    if (points.length < 3 || p.chart.dataset.key === key) return;
    p.chart.dataset.key = key;
    const [from, to] = [points[0][0], points[points.length - 1][0]];
    const top = Math.max(40 / 3.6, ...points.map((q) => q[3])) * 1.1;
    const x = (/** @type {number} */ us) => 30 + ((us - from) / Math.max(1, to - from)) * 410;
    const y = (/** @type {number} */ mps) => 84 - (mps / top) * 76;
    const last = points[points.length - 1];
    p.chart.replaceChildren(el('h3', {}, t('SPEED over {time}', { time: span(to - from) })),
      svg('svg', { class: 'chart', viewBox: '0 0 448 96', role: 'img', 'aria-label': t('Speed over {time}', { time: span(to - from) }) },
        svg('path', { class: 'axis', d: 'M30 84H440' }), svg('path', { d: 'M' + points.map((q) => `${x(q[0]).toFixed(1)} ${y(q[3]).toFixed(1)}`).join('L') }),
        svg('text', { x: 30, y: 95 }, when(from)), svg('text', { x: 440, y: 95, 'text-anchor': 'end' }, when(to)), svg('text', { class: 'now', x: 440, y: Math.max(12, y(last[3]) - 6), 'text-anchor': 'end' }, `${Math.round(last[3] * 3.6)} km/h`)));
  }
  return { patch };
}
