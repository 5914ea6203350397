/** The server's time, and how people read times. The page never trusts its own clock for more than the seconds between two events. */
import { lang } from './words.js';

let base_us = 0;
let base_ms = 0;
let speed = 1;
const ZONE = 'Asia/Karachi';

/** @param {number} now_us the server's @param {number} [rate] how fast its time runs */
export function setClock(now_us, rate = speed) {
  base_us = now_us;
  base_ms = performance.now();
  speed = rate;
}

/** Microseconds since 1970, as the server would say. */
export const now = () => base_us + (performance.now() - base_ms) * 1000 * speed;
export const rate = () => speed;

const pad = (/** @type {number} */ n) => String(Math.floor(n)).padStart(2, '0');

/** 250 s -> "4 min 10 s": seconds only while they matter. @param {number} us */
export function span(us) {
  const s = Math.max(0, Math.round(us / 1e6));
  const [S, M, H, D] = lang() === 'ur' ? ['سیکنڈ', 'منٹ', 'گھنٹے', 'دن'] : ['s', 'min', 'h', 'days'];
  if (s < 60) return `${s} ${S}`;
  if (s < 600) return `${Math.floor(s / 60)} ${M} ${pad(s % 60)} ${S}`;
  if (s < 3600) return `${Math.floor(s / 60)} ${M}`;
  if (s < 172800) return `${Math.floor(s / 3600)} ${H} ${pad((s % 3600) / 60)} ${M}`;
  return `${Math.floor(s / 86400)} ${D}`;
}

/** Shorter still, and changing seldom: for a label on the map. @param {number} us */
export function roughly(us) {
  const s = us / 1e6;
  if (s < 60) return `${Math.floor(s / 10) * 10} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} days`;
}

/** @param {string} zone @param {boolean} seconds */
const formatter = (zone, seconds) =>
  new Intl.DateTimeFormat('en-GB', { timeZone: zone, hour: '2-digit', minute: '2-digit', ...(seconds && { second: '2-digit' }), hour12: false });
const local = formatter(ZONE, true);
const localShort = formatter(ZONE, false);
const utc = formatter('UTC', false);
const day = new Intl.DateTimeFormat('en-GB', { timeZone: ZONE, day: '2-digit', month: 'short' });

/** @param {number} us */
export const clock = (us) => local.format(us / 1000);
/** @param {number} us */
export const clockUtc = (us) => utc.format(us / 1000);
/** With the day when that is not today. @param {number} us @param {boolean} [seconds] */
export function when(us, seconds = true) {
  const time = (seconds ? local : localShort).format(us / 1000);
  const its = day.format(us / 1000);
  return its === day.format(now() / 1000) ? time : `${its} ${time}`;
}

/** Seconds into a story: 00:40. @param {number} us */
export const into = (us) => `${pad(us / 60e6)}:${pad((us / 1e6) % 60)}`;
