/** The alarm budget: how many alerts people get, against what they can handle (EEMUA 191, IEC 62682). */
import { el } from './dom.js';
import { open } from './help.js';
import { SEVERITIES } from './alerts.js';
import { sign } from './fleet.js';
import { shape } from './icons.js';
import { when } from './time.js';
import { short, t } from './words.js';

/** @type {[string, string][]} */
const FIGURES = [
  ['last_10_min', 'in the last 10 min'], ['average_10_min', 'per 10 min on average'], ['peak_10_min', 'in the worst 10 min'], ['standing', 'standing now'], ['stale', 'standing for more than a day'],
];

/** @param {any} figure @param {string} words */
const row = (figure, words) =>
  el('tr', { class: figure.over ? 'over' : '' }, el('th', { scope: 'row' }, t(words)), el('td', { class: 'num' }, String(figure.value)), el('td', { class: 'num dim' }, t('at most {n}', { n: figure.most })), el('td', {}, figure.over ? t('OVER') : t('within')));

/** @param {?number} share */
const percent = (share) => (share == null ? '' : `${Math.round(share * 100)} %`);

/** @param {string} title @param {any[]} rows @param {string} none */
const part = (title, rows, none) => [el('h3', {}, t(title)), rows.length ? el('table', {}, el('tbody', {}, rows)) : el('p', { class: 'dim' }, t(none))];

/** @param {any} r @param {any[]} more */
const what = (r, ...more) => el('tr', {}, el('th', { scope: 'row' }, sign(r.subject)), el('td', {}, t(short(r.rule))), more);

/** @param {any} b */
function page(b) {
  const held = Object.entries(b.held).map(([reason, n]) => el('tr', {}, el('th', { scope: 'row' }, t(String(reason).replace('HELD_', '').replace(/_/g, ' ').toLowerCase())), el('td', { class: 'num' }, String(n))));
  return [
    el('h2', {}, t('Alerts against what people can handle')),
    el('p', { class: 'dim' }, b.alerts ? t('{n} alerts since {time}. Limits: EEMUA 191.', { n: b.alerts, time: when(b.since_us, false) }) : t('No alert in the last 24 hours.')),
    el('table', { id: 'budget' }, el('tbody', {}, FIGURES.map(([key, words]) => row(b[key], words)))),
    el('h3', {}, t('By severity')),
    el('table', {}, el('tbody', {}, SEVERITIES.map((s) => {
      const r = b.severity.find((/** @type {any} */ x) => x.severity === s);
      return el('tr', { class: s }, el('th', { scope: 'row' }, shape(s), el('span', { class: 'word' }, t(s).toUpperCase())), el('td', { class: 'num' }, String(r.n)), el('td', { class: 'num' }, percent(r.share)), el('td', { class: 'num dim' }, t('about {n}', { n: percent(r.expected) })));
    }))),
    ...part('The ten that come most often', b.top.map((/** @type {any} */ r) => what(r, el('td', { class: 'num' }, `${r.n}`), el('td', { class: 'num dim' }, percent(r.share)))), 'None.'),
    ...part('What comes and goes', b.chattering.map((/** @type {any} */ r) => what(r, el('td', { class: 'num' }, t('{n} times', { n: r.n })), el('td', { class: 'num dim' }, t('{n} in 10 min', { n: r.peak })))), 'Nothing.'),
    ...part('Held, and why', held, 'Nothing was held.'),
  ];
}

export async function showBudget() {
  const answer = await fetch('/api/budget').catch(() => null);
  open(...(answer?.ok ? page(await answer.json()) : [el('h2', {}, t('The figures cannot be had: the server does not answer.'))]), el('form', { method: 'dialog' }, el('button', {}, t('Back'), el('kbd', {}, 'Esc'))));
}
