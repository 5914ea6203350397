/** What follows from an alert: where it belongs, and before which. */
import { store } from './store.js';

export const SEVERITIES = /** @type {const} */ (['critical', 'high', 'medium', 'low']);
export const SECTIONS = /** @type {const} */ (['needs', 'hand', 'shelved', 'cleared', 'held', 'closed']);
const rank = (/** @type {any} */ a) => SEVERITIES.indexOf(a.severity);

/** @param {import('./store.js').Alert} a @returns {'needs' | 'hand' | 'shelved' | 'cleared' | 'held' | 'closed'} */
export function section(a) {
  if (a.closed_at_us != null || a.transition === 'merged') return 'closed';
  if (a.held) return 'held';
  if (a.shelved_until_us != null) return 'shelved';
  if (a.acknowledged_at_us == null) return 'needs';
  return a.cleared_at_us == null ? 'hand' : 'cleared';
}

/** Unacknowledged by severity, then the oldest first; of the others the newest first. */
export function sections() {
  /** @type {Record<string, import('./store.js').Alert[]>} */
  const out = { needs: [], hand: [], shelved: [], cleared: [], held: [], closed: [] };
  for (const a of store.alerts.values()) out[section(a)].push(a);
  out.needs.sort((a, b) => rank(a) - rank(b) || Number(a.cleared_at_us != null) - Number(b.cleared_at_us != null) || a.opened_at_us - b.opened_at_us || cmp(a, b));
  out.hand.sort((a, b) => rank(a) - rank(b) || a.opened_at_us - b.opened_at_us || cmp(a, b));
  out.shelved.sort((a, b) => (a.shelved_until_us || 0) - (b.shelved_until_us || 0) || cmp(a, b));
  out.held.sort((a, b) => rank(a) - rank(b) || b.opened_at_us - a.opened_at_us || cmp(a, b));
  out.cleared.sort((a, b) => (b.cleared_at_us || 0) - (a.cleared_at_us || 0) || cmp(a, b));
  out.closed.sort((a, b) => (b.closed_at_us || b.at_us) - (a.closed_at_us || a.at_us) || cmp(a, b));
  return out;
}
const cmp = (/** @type {any} */ a, /** @type {any} */ b) => (a.id < b.id ? -1 : 1);

/** The gravest that is open for this subject. @param {string} subject */
export function gravest(subject) {
  let best = null;
  for (const a of store.alerts.values()) {
    if (a.subject !== subject || a.cleared_at_us != null || section(a) === 'closed') continue;
    if (!best || rank(a) < rank(best)) best = a;
  }
  return best;
}

/** Sentences of what to do, as steps. @param {string} response */
export const steps = (response) =>
  response.split(/\n+|(?<=[.?!])\s+(?=[A-Z])/).map((s) => s.trim()).filter(Boolean);

/** How long it was or is: between its beginning and its end. @param {import('./store.js').Alert} a @param {number} now */
export const age = (a, now) => (section(a) === 'closed' ? now - (a.closed_at_us ?? a.at_us) : a.cleared_at_us != null ? now - a.cleared_at_us : now - a.opened_at_us);

/** Why nobody was told, in words. @type {Record<string, string>} */
export const HELD = {
  HELD_GROUPED: 'told by another of its group', HELD_INHIBITED: 'explained by another alert', HELD_ON_DELAY: 'has not lasted long enough', HELD_FLOOD: 'waits for room in the flood',
  HELD_SHELVED: 'the same lies on the shelf', HELD_CATCHING_UP: 'news of an outage', HELD_DIGEST: 'in the digest of an outage',
};

/** Who has it: whoever took it, or to whom it was handed over. @param {import('./store.js').Alert} a */
export const ownerOf = (a) => a.owner || a.acknowledged_by || '';

export const who = (/** @type {?string} */ login) => (login && login === store.session?.login ? 'you' : login || '');
