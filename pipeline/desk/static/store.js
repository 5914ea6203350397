/** What the page knows. One object; parts of the page listen to the topics that concern them. */

/**
 * @typedef {'critical' | 'high' | 'medium' | 'low'} Severity
 * @typedef {{id: string, rule: string, subject: string, object: string, severity: Severity, lead: string, place: string, text: string,
 *   response: string, owner_post: string, respond_within_us: number, began_at_us: number, opened_at_us: number, cleared_at_us: ?number,
 *   acknowledged_at_us: ?number, acknowledged_by: ?string, closed_at_us: ?number, outcome: ?string, peak: ?number, lat: ?number, lon: ?number,
 *   late: boolean, revision: number, held: string, under: string, count: number, others: string, owner: string, shelved_until_us: ?number, shelved_by: string, shelved_why: string,
 *   chattering: boolean, realarms: number, retracted: boolean, transition: string, at_us: number, seq: number, notes: string[], evidence: Record<string, any>}} Alert
 * @typedef {{id: string, lat: number, lon: number, course: ?number, speed: ?number, accuracy: ?number, seen: number, received: number, flags: number}} Position
 * @typedef {{sign: string, role: string, kind: string, region: string, convoy: ?string, every_s: number}} Vehicle
 * @typedef {'session' | 'alerts' | 'positions' | 'clock' | 'select' | 'cursor' | 'link' | 'convoys' | 'story' | 'sound' | 'follow' | 'theme' | 'pending'} Topic
 */

export const store = {
  /** @type {any} */ session: null,
  /** @type {Record<string, Vehicle>} */ vehicles: {},
  /** @type {Map<string, Position>} */ positions: new Map(),
  /** @type {Map<string, Alert>} */ alerts: new Map(),
  /** @type {any[]} */ convoys: [],
  /** @type {any} */ story: { name: '', starts_us: 0, captions: [] },
  /** @type {any} */ plan: null,
  clock: { tick_us: 0, fix_us: 0, healthy: true },
  /** @type {'connecting' | 'live' | 'lost'} */ link: 'connecting',
  attempt: 0,
  /** @type {?{kind: 'alert' | 'vehicle', id: string}} */ selected: null,
  /** The queue's own place, tied to an alert and never to a row's number. @type {?string} */ cursor: null,
  /** @type {?string} */ follow: null,
  /** What was asked for and has not come back yet. @type {Map<string, {what: string, fault: string}>} */ pending: new Map(),
};

/** @type {Map<Topic, Set<() => void>>} */
const listeners = new Map();
/** @type {Set<Topic>} */
const due = new Set();
let scheduled = false;

/** @param {Topic[]} topics @param {() => void} listener called once for any number of changes in one turn */
export function on(topics, listener) {
  for (const topic of topics) {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic)?.add(listener);
  }
}

/** @param {...Topic} topics */
export function tell(...topics) {
  for (const topic of topics) due.add(topic);
  if (scheduled) return;
  scheduled = true;
  setTimeout(flush, 0);
}

function flush() {
  scheduled = false;
  /** @type {Set<() => void>} */
  const todo = new Set();
  for (const topic of due) for (const listener of listeners.get(topic) || []) todo.add(listener);
  due.clear();
  for (const listener of todo) {
    try {
      listener();
    } catch (error) {
      console.error(error); // one part of the page that fails takes no other part with it
    }
  }
}

/** @param {?{kind: 'alert' | 'vehicle', id: string}} what */
export function select(what) {
  if (what?.kind === store.selected?.kind && what?.id === store.selected?.id) return;
  store.selected = what;
  if (what?.kind === 'alert') store.cursor = what.id;
  if (!what || (store.follow && store.follow !== vehicleOf(what))) store.follow = null;
  tell('select', 'cursor', 'follow');
}

/** The vehicle that a selection is about. @param {?{kind: string, id: string}} what @returns {?string} */
export function vehicleOf(what) {
  if (!what) return null;
  if (what.kind === 'vehicle') return what.id;
  const subject = store.alerts.get(what.id)?.subject || '';
  return store.positions.has(subject) || store.vehicles[subject] ? subject : null;
}
