/** Of an alert's page: who was told and who answered, whom it speaks for, and from when to when its evidence is. */
import { el } from './dom.js';
import { HELD, who } from './alerts.js';
import { select, store } from './store.js';
import { now, when } from './time.js';
import { t, whole } from './words.js';

/** What the reasons of telling mean to whoever reads them. @type {Record<string, string>} */
const WHY = {
  RECEIPT: 'received', NOT_ACKNOWLEDGED: 'no answer, so next', AGAIN: 'no answer, so again', NOBODY_ON_CALL: 'nobody on call', SEND_FAILED: 'could not be reached',
  VEHICLE_NOT_REACHED: 'vehicle not reached', NO_LADDER: 'the plan says nobody', CORRECTION: 'told that it was not so', DIGEST: 'in a digest',
};

/** @param {any} s */
function answer(s) {
  if (s.transition === 'told') return [t(WHY[s.reason] || 'told'), s.detail];
  if (s.transition === 'escalated') return [t(WHY[s.reason] || 'next'), s.detail];
  if (s.transition === 'grew') return [t('took what was less grave: asked again'), t(who(s.detail))];
  if (s.transition === 'realarmed') return [t('asked again'), t(who(s.detail))];
  return [t(s.transition === 'acknowledged' ? 'answered' : 'has it now'), t(who(s.transition === 'handed_over' ? s.detail : s.actor))];
}

/** @param {any[]} timeline @returns {any[]} */
export function toldRows(timeline) {
  const lines = timeline.filter((s) => (s.transition === 'grew' && s.detail) || ['told', 'escalated', 'acknowledged', 'handed_over', 'realarmed'].includes(s.transition));
  if (!lines.length) return [el('h3', {}, t('WHO WAS TOLD, WHO ANSWERED')), el('p', { class: 'dim' }, t('Nobody yet, beside this desk.'))];
  return [el('h3', {}, t('WHO WAS TOLD, WHO ANSWERED')), el('table', { id: 'told' }, lines.map((s) => {
    const [what, whom] = answer(s);
    return el('tr', { class: s.transition === 'escalated' ? 'over' : '' }, el('td', { class: 'dim num' }, when(s.at_us)), el('td', {}, whom), el('td', {}, what));
  }))];
}

/** @param {any[]} behind @returns {any[]} */
export function behindRows(behind) {
  if (!behind?.length) return [];
  return [el('h3', {}, t('IT SPEAKS FOR')), el('table', { id: 'behind' }, behind.map((b) => el('tr', {}, el('td', {}, el('button', { onclick: () => select({ kind: 'alert', id: b.id }) }, whole(b.lead))), el('td', { class: 'dim' }, t(HELD[b.held] || b.held)))))];
}

/** From a minute before the open alert began to when it was over; null when none is open. @returns {any} */
export function evidenceSpan() {
  const a = store.selected?.kind === 'alert' ? store.alerts.get(store.selected.id) : null;
  return a ? [a.began_at_us - 60e6, a.cleared_at_us ?? now()] : null;
}
