/** The map. It never moves by itself: "show all", "show on map" and "follow" are asked for. */
import { attr, byId, el, say } from './dom.js';
import { base, bounds, fc, feature, style } from './mapstyle.js';
import { drawOnDemand, token } from './pictures.js';
import { on, select, store, tell, vehicleOf } from './store.js';
import { SEVERITIES, gravest, section } from './alerts.js';
import { isStale, sign } from './fleet.js';
import { named, short, t } from './words.js';
import { clock, now, roughly } from './time.js';
import { blind, dataAge } from './topbar.js';
import { arrow } from './icons.js';
import { svg } from './dom.js';
import { trail, trailFeatures } from './trail.js';
import { evidenceSpan } from './answered.js';

/** @type {any} */
let map = null;
/** @type {any} */
let fixed = null;
let ready = false;
let drawn_ms = -1e9;
let timer = 0;
/** @type {Set<string>} */
let shown = new Set();
const EVERY_MS = 250;
const UNCERTAIN_M = 50;
const still = matchMedia('(prefers-reduced-motion: reduce)');

/** A circle on the ground. @param {number} lon @param {number} lat @param {number} r_m */
const circle = (lon, lat, r_m) => [[...Array(49)].map((_, i) => [lon + (r_m * Math.cos(i * 0.1309)) / (111320 * Math.cos(lat / 57.2958)), lat + (r_m * Math.sin(i * 0.1309)) / 111320])];

/** Chips of alerts that would lie on one another stand above and below one another, the gravest at its place. @param {any[]} features */
function stack(features) {
  /** @type {{x: number, y: number, w: number}[]} */
  const placed = [];
  const chips = features.filter((f) => f.properties.rank < SEVERITIES.length && map?.project);
  for (const f of chips.sort((a, b) => a.properties.rank - b.properties.rank)) {
    const { x, y } = map.project(f.geometry.coordinates);
    const w = f.properties.label.split('|')[1].length * 7 + 16;
    const free = (/** @type {number} */ row) => !placed.some((p) => Math.abs(p.y - y - row * CHIP_PX) < CHIP_PX && x < p.x + p.w && p.x < x + w);
    f.properties.row = [0, 1, -1, 2, -2, 3, -3].find(free) ?? 0;
    placed.push({ x, y: y + f.properties.row * CHIP_PX, w });
  }
}
const CHIP_PX = 22;

/** What moves: sources by name. */
function moving() {
  /** @type {Record<string, any[]>} */
  const out = { vehicles: [], spots: [], tags: [], accuracy: [], chosen: [], trail: trailFeatures() };
  const cut = blind() != null;
  const chosen = vehicleOf(store.selected);
  for (const p of store.positions.values()) {
    const v = store.vehicles[p.id] || { role: 'unknown', convoy: null };
    const a = gravest(p.id);
    const old = isStale(p) || cut;
    const role = v.role in ROLES ? v.role : 'unknown';
    const severity = a?.severity || '';
    const age = old ? roughly(now() - p.received) : '';
    const kind = severity ? severity + (a?.acknowledged_at_us != null ? '-ack' : '') : old ? 'stale' : 'sign';
    const words = severity ? `${sign(p.id)} ${t(short(/** @type {any} */ (a).rule))}${age && `, ${age}`}` : `${sign(p.id)}${age && ` · ${age}`}`;
    out.vehicles.push(feature('Point', [p.lon, p.lat], {
      id: p.id, icon: `${p.course == null ? 'd' : 'v'}|${role}|${severity}`, h: p.course || 0, fade: old && !severity ? 0.45 : 1,
      rank: severity ? SEVERITIES.indexOf(/** @type {any} */ (severity)) : role === 'principal' ? 5 : 6, convoy: v.convoy && !severity && p.id !== chosen ? 1 : 0, label: `t|${words}|${kind}`,
    }));
    if (p.id === chosen) out.chosen.push(feature('Point', [p.lon, p.lat]));
    if (p.accuracy && (p.accuracy >= UNCERTAIN_M || (p.id === chosen && p.accuracy > 5))) out.accuracy.push(feature('Polygon', circle(p.lon, p.lat, p.accuracy), { colour: token(severity ? severity + '-fill' : 'mark') }));
  }
  for (const a of store.alerts.values()) {
    if (a.lat == null || a.lon == null || a.cleared_at_us != null || section(a) === 'closed' || store.positions.has(a.subject)) continue;
    const fresh = a.acknowledged_at_us == null;
    const about = store.convoys.find((c) => c.id === a.subject);
    out.spots.push(feature('Point', [a.lon, a.lat], { alert: a.id, rank: SEVERITIES.indexOf(a.severity), icon: `s|${a.severity}|${fresh ? 'new' : ''}`, label: `t|${about ? named(about.name) : sign(a.subject)} ${t(short(a.rule))}|${a.severity}${fresh ? '' : '-ack'}` }));
  }
  proof(out);
  stack([...out.vehicles, ...out.spots]);
  for (const c of store.convoys) {
    const lead = c.units.filter((/** @type {any} */ u) => u.m != null && store.positions.has(u.id)).sort((/** @type {any} */ a, /** @type {any} */ b) => b.m - a.m)[0];
    const p = lead && store.positions.get(lead.id);
    if (p) out.tags.push(feature('Point', [p.lon, p.lat], { icon: `t|${named(c.name)} · ${c.units.length}|sign` }));
  }
  shown = new Set(Object.values(out).flat().flatMap((f) => [f.properties.icon, f.properties.label]));
  return Object.fromEntries(Object.entries(out).map(([name, list]) => [name, fc(list)]));
}

/** What proves the alert that is open: the fixes of its time with their accuracy, and the place that it names. @param {Record<string, any[]>} out */
function proof(out) {
  const a = store.selected?.kind === 'alert' ? store.alerts.get(store.selected.id) : null;
  const span = evidenceSpan();
  if (!a || !span) return;
  const colour = token(`${a.severity}-fill`);
  const fixes = trail.vehicle === vehicleOf(store.selected) ? trail.points.filter((p) => p[0] >= span[0] && p[0] <= span[1]) : [];
  const every = Math.ceil(fixes.length / MOST_PROOFS) || 1;
  for (const [, lat, lon, , accuracy] of fixes.filter((_, i) => i % every === 0)) out.accuracy.push(feature('Polygon', circle(lon, lat, Math.max(accuracy || 0, 5)), { colour }));
  if (a.lat != null && a.lon != null) out.chosen.push(feature('Point', [a.lon, a.lat]));
}
const MOST_PROOFS = 120;
const ROLES = { principal: 1, escort: 1, patrol: 1, logistics: 1 };

function draw() {
  timer = 0;
  if (!ready || document.hidden) return;
  drawn_ms = performance.now();
  for (const [name, data] of Object.entries(moving())) map.getSource(name)?.setData(data);
  const p = store.follow && store.positions.get(store.follow);
  if (p) map.easeTo({ center: [p.lon, p.lat], duration: still.matches ? 0 : 200 });
  bar();
}

/** At most four times a second, whatever happens. */
function soon() {
  if (!timer) timer = window.setTimeout(draw, Math.max(0, EVERY_MS - (performance.now() - drawn_ms)));
}

export function showAll() {
  if (!map) return;
  const [w, s, e, n] = bounds(store.plan);
  map.fitBounds([[w, s], [e, n]], { padding: 40, duration: still.matches ? 0 : 300 });
}

/** @param {number} lon @param {number} lat */
export function showAt(lon, lat) {
  document.body.classList.add('showmap');
  map?.resize();
  map?.easeTo({ center: [lon, lat], zoom: Math.max(map.getZoom(), 13), duration: still.matches ? 0 : 300 });
}

export function follow() {
  const id = vehicleOf(store.selected);
  store.follow = store.follow ? null : id;
  if (store.follow && map.getZoom() < 12) map.jumpTo({ zoom: 12.5 });
  tell('follow', 'positions');
}

/** @type {any} */
let parts = null;
function bar() {
  if (!parts) {
    parts = { follow: el('button', { onclick: follow }, ''), pressed: '' };
    byId('mapbar').append(el('button', { onclick: showAll }, t('Show all'), el('kbd', {}, 'm')), parts.follow);
  }
  const id = store.follow || vehicleOf(store.selected);
  parts.follow.hidden = !id;
  say(parts.follow, `${t('Follow')} ${id ? sign(id) : ''}`);
  attr(parts.follow, 'aria-pressed', store.follow ? 'true' : 'false');
  const note = byId('mapnote');
  const age = dataAge();
  const lost = store.link === 'lost';
  const cut = blind() != null;
  note.hidden = !(lost || cut);
  if (!note.hidden) {
    const asOf = age == null ? '' : t('Positions as of {time}.', { time: clock(Math.max(store.clock.tick_us, store.clock.fix_us)) }) + ' ';
    say(note, asOf + (lost ? t('Reconnecting, attempt {n}.', { n: store.attempt }) + ' ' : '') + (cut ? t('Use the radio.') : ''));
  }
}

function legend() {
  const box = (/** @type {any[]} */ ...paths) => svg('svg', { viewBox: '0 0 24 18', 'aria-hidden': 'true' }, ...paths);
  const path = (/** @type {string} */ d, dash = '') => svg('path', { d, 'stroke-dasharray': dash || null });
  const entries = [
    [arrow('principal', 'v'), 'principal'], [arrow('escort', 'o'), 'escort'], [arrow('patrol', 'v'), 'patrol'], [arrow('logistics', 'v'), 'logistics'], [arrow('principal', 'v faded'), 'stale, with age'],
    [box(path('M3 3H21V15H3Z')), 'site'], [box(path('M3 3H21V15H3ZM4 14 14 4M10 15 20 5', '4 2')), 'no entry or stop'], [box(path('M3 3H21V15H3ZM8 9h1M12 9h1M16 9h1', '1.5 2')), 'no coverage'],
  ];
  byId('legend').replaceChildren(...entries.flatMap(([icon, words]) => [icon, el('span', {}, t(/** @type {string} */ (words)))]));
}

export async function startMap() {
  legend();
  bar();
  fixed = base(store.plan);
  const [w, s, e, n] = bounds(store.plan);
  const library = /** @type {any} */ (window).maplibregl;
  map = new library.Map({
    container: 'map', style: style({ ...fixed, ...moving() }, store.session.basemap_url), bounds: [[w, s], [e, n]], fitBoundsOptions: { padding: 40 },
    attributionControl: false, fadeDuration: 0, dragRotate: false, pitchWithRotate: false, touchPitch: false, maxZoom: 18,
  });
  map.touchZoomRotate.disableRotation();
  drawOnDemand(map, () => shown);
  map.addControl(new library.ScaleControl({ maxWidth: 140 }), document.documentElement.dir === 'rtl' ? 'bottom-left' : 'bottom-right');
  map.on('load', () => { ready = true; soon(); document.body.dataset.map = 'ready'; });
  map.on('dragstart', () => { if (store.follow) { store.follow = null; tell('follow'); } });
  for (const layer of ['vehicles', 'signs', 'convoy-signs', 'chips', 'spots', 'spot-chips']) {
    map.on('mouseenter', layer, () => { map.getCanvas().style.cursor = 'pointer'; });
    map.on('mouseleave', layer, () => { map.getCanvas().style.cursor = ''; });
  }
  map.on('click', (/** @type {any} */ event) => {
    const near = /** @type {any} */ ([[event.point.x - 10, event.point.y - 10], [event.point.x + 10, event.point.y + 10]]);
    const hit = map.queryRenderedFeatures(near, { layers: ['vehicles', 'spots', 'chips', 'spot-chips'] })[0]?.properties;
    if (hit?.alert) select({ kind: 'alert', id: hit.alert });
    else if (hit?.id) select({ kind: 'vehicle', id: hit.id });
  });
  on(['theme'], () => { ready = false; map.setStyle(style({ ...fixed, ...moving() }, store.session.basemap_url), { diff: false }); map.once('styledata', () => { ready = true; soon(); }); });
  on(['positions', 'alerts', 'select', 'follow', 'link', 'convoys'], soon);
  setInterval(soon, 1000);
  new ResizeObserver(() => map.resize()).observe(byId('mapbox'));
}

/** For tests and for whoever debugs a screen: where the view is. */
export const view = () => (map ? { center: map.getCenter().toArray(), zoom: map.getZoom() } : null);
