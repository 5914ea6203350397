/** The connection: server-sent events that go on where they broke off, and say so while they are broken. */
import { setClock } from './time.js';
import { store, tell } from './store.js';

/** @type {?EventSource} */
let source = null;
let last = '';
let timer = 0;
let heard = 0;
const SILENT_MS = 8000;   // the server says something every two seconds

/** @param {any[]} row */
const position = (row) => ({ id: row[0], lat: row[1], lon: row[2], course: row[3], speed: row[4], accuracy: row[5], seen: row[6], received: row[7], flags: row[8] });

/** @param {any} clock */
function apply(clock) {
  setClock(clock.now_us);
  store.clock = clock;
  tell('clock');
}

/** @type {Record<string, (data: any) => void>} */
const HANDLERS = {
  snapshot(data) {
    apply(data.clock);
    store.positions = new Map(data.positions.map((/** @type {any[]} */ row) => [row[0], position(row)]));
    store.alerts = new Map(data.alerts.map((/** @type {any} */ a) => [a.id, a]));
    store.convoys = data.convoys;
    store.story = data.story;
    store.pending.clear();
    tell('positions', 'alerts', 'convoys', 'story');
  },
  positions(rows) {
    for (const row of rows) {
      const p = position(row);
      store.positions.set(p.id, p);
      if (p.received > store.clock.fix_us) store.clock.fix_us = p.received;
    }
    tell('positions');
  },
  alert(a) {
    store.alerts.delete(a.id); // so that the newest is last, and forgetting the oldest closed ones is easy
    if (!(a.held && a.closed_at_us != null)) store.alerts.set(a.id, a); // nobody was told of it, and it is over
    store.pending.delete(a.id);
    forget();
    tell('alerts');
  },
  convoys(data) { store.convoys = data; tell('convoys'); },
  story(data) { store.story = data; tell('story'); },
  clock: apply,
  goodbye() { location.assign('/login'); },
};

/** A page that stays open for weeks keeps no more closed alerts than the server does. */
function forget() {
  const closed = [...store.alerts.values()].filter((a) => a.closed_at_us != null || a.transition === 'merged');
  for (const a of closed.slice(0, Math.max(0, closed.length - 30))) store.alerts.delete(a.id);
}

/** @param {'connecting' | 'live' | 'lost'} link */
function linkIs(link) {
  if (store.link === link) return;
  store.link = link;
  if (link === 'live') store.attempt = 0;
  tell('link');
}

export function connect() {
  source?.close();
  source = new EventSource('/api/events' + (last ? `?last=${encodeURIComponent(last)}` : ''));
  heard = performance.now();
  source.onopen = () => linkIs('live');
  source.onerror = lost;
  for (const [name, handle] of Object.entries(HANDLERS)) {
    source.addEventListener(name, (event) => {
      heard = performance.now();
      linkIs('live');
      if (event.lastEventId) last = event.lastEventId;
      handle(JSON.parse(event.data));
    });
  }
}

/** Open it anew ourselves: the browser gives up for good on some answers, and counts no attempts. */
function lost() {
  source?.close();
  source = null;
  if (timer) return;
  store.attempt += 1;
  linkIs('lost');
  tell('link');
  timer = window.setTimeout(async () => {
    timer = 0;
    try {
      const answer = await fetch('/api/session', { cache: 'no-store' });
      if (answer.status === 401) return location.assign('/login');
    } catch {
      return lost();
    }
    return connect();
  }, Math.min(500 * 2 ** Math.min(store.attempt, 4), 5000) * (0.8 + 0.4 * Math.random()));
}

/** A cable that was pulled makes no error: silence does. */
setInterval(() => {
  if (source && performance.now() - heard > SILENT_MS) lost();
}, 1000);
