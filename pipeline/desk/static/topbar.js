/** The first answer, in one sentence and always in view; beside it what one must know to believe it. */
import { el, byId, say, attr } from './dom.js';
import { shape, SHAPE } from './icons.js';
import { clock, clockUtc, now, span } from './time.js';
import { lang, named, setLang, t, whole } from './words.js';
import { on, store, tell } from './store.js';
import { sections } from './alerts.js';
import { reporting } from './fleet.js';
import { soundWord, toggleSound } from './sound.js';
import { logOut } from './actions.js';
import { showKeys } from './help.js';
import { showBudget } from './budget.js';

const BUDGET = 10;           // alerts in ten minutes that one person can handle well (EEMUA 191)
const NO_POSITION_US = 60e6;

/** How old the newest sign of life is; null before there was any. */
export function dataAge() {
  const newest = Math.max(store.clock.tick_us, store.clock.fix_us);
  return newest ? Math.max(0, now() - newest) : null;
}

/** @returns {?string} why what is shown must not be believed */
export function blind() {
  const age = dataAge();
  if (age == null) return null;
  const limit = store.session.stale_after_s * 1e6;
  if (age > limit) return t('DATA STALE: nothing received for {age}.', { age: span(age) });
  const fix = store.clock.fix_us;
  if (fix && now() - fix > Math.max(NO_POSITION_US, limit * 3)) return t('NO POSITIONS for {age}. Time passes, but no vehicle reports.', { age: span(now() - fix) });
  if (!store.clock.healthy) return t('THE RECEIVER REPORTS TROUBLE: positions may be missing.');
  return null;
}

/** @type {any} */
let parts = null;

function build() {
  const fact = (/** @type {string} */ name, /** @type {string} */ cls, /** @type {any} */ dd, dtcls = '') => el('div', { class: cls }, el('dt', { class: dtcls }, t(name)), dd);
  parts = {
    shape: shape('critical', 'new'), main: el('span', { id: 'answer' }), more: el('span', { class: 'more' }),
    h1: el('h1', {}), time: el('bdi', {}), utc: el('small', { class: 'dim wall' }), data: el('dd', { id: 'data-age' }), load: el('button', { onclick: () => void showBudget(), 'aria-label': t('Alerts in ten minutes, and the rest of the budget') }),
    sound: el('button', { onclick: toggleSound, 'aria-label': t('Sound') }),
    theme: el('button', { class: 'wall', id: 'theme', onclick: turnTheme }),
  };
  parts.h1.append(parts.shape, parts.main, parts.more);
  const region = store.session.regions.map((/** @type {any} */ r) => named(r.name) + (r.invented ? ` (${t('invented')})` : '')).join(', ');
  byId('top').replaceChildren(
    parts.h1,
    el('dl', {},
      fact('Region', 'wall wide-only', el('dd', {}, region)),
      fact('Local time', '', el('dd', {}, parts.time, ' ', parts.utc), 'wall'),
      fact('Data', '', parts.data),
      fact('Sound', '', el('dd', {}, parts.sound)),
      fact('Alerts, 10 min', 'wide-only', el('dd', {}, parts.load)),
      fact('On duty', 'wall', el('dd', {}, store.session.login + (store.session.role === 'viewer' ? ` (${t('looks only')})` : '')))),
    el('div', { class: 'buttons wall' },
      parts.theme,
      el('button', { class: 'wide-only', lang: lang() === 'ur' ? 'en' : 'ur', onclick: () => setLang(lang() === 'ur' ? 'en' : 'ur') }, lang() === 'ur' ? 'English' : 'اردو'),
      el('button', { onclick: showKeys }, t('Keys'), el('kbd', {}, '?')),
      el('button', { class: 'wide-only', onclick: logOut }, t('Log out'))));
}

function turnTheme() {
  const next = document.documentElement.dataset.theme === 'day' ? 'night' : 'day';
  document.documentElement.dataset.theme = next;
  localStorage.setItem('theme', next);
  tell('theme');
}

function render() {
  if (!store.session) return;
  if (!parts) build();
  const { needs } = sections();
  const trouble = blind();
  document.body.classList.toggle('stale', !!trouble);
  const first = needs[0];
  const heard = reporting();
  const age = dataAge();
  let main, more;
  if (trouble) {
    main = trouble;
    more = needs.length ? t(needs.length === 1 ? '1 alert was waiting.' : '{n} alerts were waiting.', { n: needs.length }) : '';
  } else if (age == null) {
    main = t('Waiting for data.');
    more = t('Nothing has been received yet: this is not "all quiet".');
  } else if (first) {
    const criticals = needs.filter((a) => a.severity === 'critical').length;
    main = criticals > 1 && needs.length > 5 ? t('{n} critical alerts need you first.', { n: criticals }) : needs.length === 1 ? t('1 alert needs you.') : t('{n} alerts need you.', { n: needs.length });
    more = criticals > 1 && needs.length > 5 ? t('{n} need you in all.', { n: needs.length }) : t('First: {lead}.', { lead: whole(first.lead) });
  } else {
    main = t('All quiet.');
    more = t('{n} of {all} vehicles reporting, newest {age} ago.', { n: heard.reporting, all: heard.all, age: span(now() - store.clock.fix_us) });
  }
  say(parts.main, main);
  say(parts.more, more);
  parts.shape.toggleAttribute('hidden', !first || !!trouble);
  if (first) {
    parts.h1.className = first.severity;
    attr(parts.shape.firstChild, 'd', SHAPE[first.severity]);
  }
  say(parts.time, `${clock(now())} PKT`);
  say(parts.utc, `${clockUtc(now())} UTC`);
  say(parts.data, age == null ? t('none') : t('{age} old', { age: span(age) }));
  say(parts.sound, soundWord());
  say(parts.theme, t(document.documentElement.dataset.theme === 'day' ? 'Night' : 'Day'));
  const lately = [...store.alerts.values()].filter((a) => !a.held && now() - a.opened_at_us < 600e6).length;
  say(parts.load, t('{n} of {most}', { n: lately, most: BUDGET }) + (lately > BUDGET ? `, ${t('flood')}` : ''));
  parts.load.classList.toggle('over', lately > BUDGET);
  document.title = `${trouble ? 'STALE ' : ''}${needs.length ? `(${needs.length}) ` : ''}Rahdar desk`;
}

export function startTopbar() {
  on(['session', 'alerts', 'clock', 'link', 'sound', 'theme'], render);
  setInterval(render, 500);
}
