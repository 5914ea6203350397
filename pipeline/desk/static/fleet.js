/** Of vehicles: who reports, who does not, and since when. */
import { store } from './store.js';
import { now, rate } from './time.js';

const QUIET_US = 60e6;

/** Silent for longer than it may be. @param {import('./store.js').Position} p */
export function isStale(p) {
  const every_us = (store.vehicles[p.id]?.every_s || 10) * 1e6;
  return now() - p.received > Math.max(QUIET_US, 3 * every_us) * Math.max(1, rate() / 4);
}

/** @param {string} id */
export const sign = (id) => store.vehicles[id]?.sign || id;

export function reporting() {
  const silent = [];
  let count = 0;
  for (const p of store.positions.values()) {
    if (isStale(p)) silent.push(p);
    else count += 1;
  }
  const all = new Set([...Object.keys(store.vehicles), ...store.positions.keys()]).size;
  silent.sort((a, b) => b.received - a.received);
  return { reporting: count, all, silent };
}
