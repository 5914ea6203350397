/** The queue: needs you, in hand, cleared. Rows are patched in place, and none moves while the pointer is over them. */
import { attr, byId, el, order, say } from './dom.js';
import { HELD, age, ownerOf, section, sections, who } from './alerts.js';
import { now, clock, span, when } from './time.js';
import { on, select, store, tell } from './store.js';
import { shape } from './icons.js';
import { t, whole } from './words.js';
import { act } from './actions.js';
import { blind } from './topbar.js';
import { reporting, sign } from './fleet.js';

const HOLD_MS = 6000;       // a pointer that rests longer than this is not about to click
const TITLES = { needs: 'Needs you', hand: 'In hand', shelved: 'On the shelf', cleared: 'Cleared, not closed', held: 'Held: on record, nobody told', closed: 'Last closed' };
/** How many rows of what nobody has to look at now. @type {Record<string, number>} */
const SHOWN = { closed: 6, held: 5 };

/** @type {Map<string, any>} */
const rows = new Map();
/** @type {any} */
let parts = null;
let pointed_ms = -1e9;
let inside = false;
/** @type {?string} */
let spoken = null;

function build() {
  parts = { sections: {}, empty: el('div', { class: 'empty' }, el('b', {}, t('Nothing needs you.')), el('span', { class: 'dim' })) };
  const nav = byId('queue');
  nav.append(parts.empty);
  for (const [key, title] of Object.entries(TITLES)) {
    const count = el('span', {});
    const note = el('span', {});
    const list = el('ul', { 'aria-label': t(title) });
    const head = el('h2', {}, count, note);
    const box = el('section', { id: `part-${key}`, hidden: true }, head, list);
    parts.sections[key] = { box, head, list, count, note, title };
    nav.append(box);
  }
  parts.more = el('button', { onclick: () => { pointed_ms = -1e9; render(); } });
  nav.addEventListener('pointermove', (/** @type {PointerEvent} */ e) => { if (e.pointerType === 'mouse') { inside = true; pointed_ms = performance.now(); } });
  nav.addEventListener('pointerleave', () => { inside = false; render(); });
}

/** @param {string} id */
function makeRow(id) {
  const r = {
    word: el('span', { class: 'word' }), tag: el('small', { class: 'dim tag' }), age: el('span', { class: 'age' }), lead: el('p', { class: 'lead' }), others: el('p', { class: 'others' }), where: el('bdi', {}), owner: el('span', { class: 'owner' }),
    key: el('kbd', {}, 'a'), label: el('span', {}), fault: el('p', { class: 'fault', role: 'alert' }), shape: /** @type {any} */ (null), severity: '', node: /** @type {any} */ (null), button: /** @type {any} */ (null),
  };
  r.button = el('button', { onclick: (/** @type {Event} */ e) => { e.stopPropagation(); store.cursor = id; tell('cursor'); void act(id, 'acknowledge'); } }, r.label, r.key);
  r.node = el('li', { class: 'row', tabindex: '0', 'data-alert': id, onclick: () => select({ kind: 'alert', id }), onfocus: () => { if (store.cursor !== id) { store.cursor = id; tell('cursor'); } } },
    el('span', {}),
    el('div', {}, el('div', { class: 'head' }, r.word, r.tag, r.age), r.lead, r.others, el('div', { class: 'foot' }, el('p', { class: 'place' }, r.where, r.owner), r.button), r.fault));
  return r;
}

/** @param {import('./store.js').Alert} a */
function patch(a) {
  let r = rows.get(a.id);
  if (!r) rows.set(a.id, (r = makeRow(a.id)));
  const part = section(a);
  const state = part === 'needs' ? 'new' : part === 'hand' || part === 'shelved' || part === 'held' ? 'ack' : 'cleared';
  if (r.severity !== a.severity) {
    r.severity = a.severity;
    r.shape = shape(a.severity);
    r.node.firstChild.replaceWith(r.shape);
  }
  attr(r.node, 'class', `row ${a.severity} ${state}${a.cleared_at_us != null ? ' ended' : ''}`);
  say(r.word, t(a.severity).toUpperCase());
  const pending = store.pending.get(a.id);
  const ended = a.cleared_at_us != null ? t('over, ') : '';
  say(r.tag, tag(a, part, ended));
  say(r.others, whole(a.others || ''));
  say(r.lead, whole(a.lead));
  say(r.where, whole(a.place));
  const owner = part === 'closed' ? [who(a.acknowledged_by), a.outcome].filter(Boolean).join(': ') : t(who(ownerOf(a)));
  say(r.owner, owner ? ` · ${owner}` : '');
  say(r.label, pending && !pending.fault ? t('Sending…') : t('Acknowledge'));
  r.button.disabled = !!pending && !pending.fault;
  r.button.hidden = part === 'held' || part === 'shelved' || !store.session.acts;
  say(r.fault, pending?.fault || '');
  return r;
}

function render() {
  if (!store.session) return;
  if (!parts) build();
  const parted = sections();
  const full = Object.fromEntries(Object.entries(parted).map(([key, list]) => [key, list.length]));
  for (const [key, most] of Object.entries(SHOWN)) parted[key] = parted[key].slice(0, most);
  for (const [id, r] of rows) if (!store.alerts.has(id)) { r.node.remove(); rows.delete(id); }
  const held = inside && performance.now() - pointed_ms < HOLD_MS;
  let moved = 0;
  for (const [key, list] of Object.entries(parted)) {
    const s = parts.sections[key];
    const wanted = list.map((a) => patch(a).node);
    const have = [...s.list.children];
    if (held && have.some((node, i) => node !== wanted[i])) moved += 1;
    else if (held && wanted.length > have.length && key !== 'closed') moved += 1; // even at the end: it pushes the next part down
    else arrange(s.list, wanted);
    say(s.count, `${t(s.title)} · ${full[key]}`);
    if (key === 'held') say(s.note, full.held > list.length ? t('the gravest {n} shown', { n: list.length }) : '');
    s.box.hidden = s.list.children.length === 0;
  }
  const waiting = moved > 0;
  const note = parts.sections.needs.note;
  if (waiting) {
    parts.sections.needs.box.hidden = false;
    say(parts.more, t('The list has changed: show'));
    if (note.firstChild !== parts.more) note.replaceChildren(parts.more);
  } else say(note, blind() ? t('as of {time}', { time: clock(Math.max(store.clock.tick_us, store.clock.fix_us)) }) : '');
  empty(parted);
  mark(parted);
  speak(parted.needs);
}

/** What is to be known beside the severity. @param {import('./store.js').Alert} a @param {string} part @param {string} ended */
function tag(a, part, ended) {
  const said = [];
  if (a.retracted) said.push(t('RETRACTED'));
  if (a.realarms && part === 'needs') said.push(t('still there'));
  if (a.chattering) said.push(t('comes and goes'));
  if (a.late) said.push(t('came late'));
  if (part === 'held') said.push(t(HELD[a.held] || a.held));
  else if (part === 'shelved') said.push(t('until {time}', { time: when(a.shelved_until_us || 0, false) }) + (a.shelved_why ? `: ${a.shelved_why}` : ''));
  else if (part === 'needs') said.push(t('not taken'));
  return (said.length ? ended : ended.replace(/, $/, '')) + said.join(', ');
}

/** @param {any} list @param {any[]} wanted */
function arrange(list, wanted) {
  const focused = document.activeElement;
  order(list, wanted);
  if (focused instanceof HTMLElement && focused !== document.activeElement && wanted.some((n) => n.contains(focused))) focused.focus({ preventScroll: true });
}

/** @param {Record<string, import('./store.js').Alert[]>} parted */
function empty(parted) {
  const quiet = parted.needs.length === 0;
  parts.empty.hidden = !quiet || store.link === 'connecting';
  if (parts.empty.hidden) return;
  const { silent, all, reporting: n } = reporting();
  const last = parted.closed[0];
  const said = [];
  if (last?.closed_at_us) said.push(t('The last alert was closed {age} ago.', { age: span(now() - last.closed_at_us) }));
  if (silent.length) said.push(t('Not reporting: {list}.', { list: silent.slice(0, 6).map((p) => `${sign(p.id)} (${span(now() - p.received)})`).join(', ') + (silent.length > 6 ? t(' and {n} more', { n: silent.length - 6 }) : '') }));
  const never = all - n - silent.length;
  if (never > 0) said.push(t(never === 1 ? '1 vehicle of the plan has never been heard.' : '{n} vehicles of the plan have never been heard.', { n: never }));
  say(parts.empty.lastChild, said.join(' '));
}

/** The cursor is tied to an alert; when that one no longer needs anybody, it goes to the first that does. @param {Record<string, any[]>} parted */
function mark(parted) {
  const open = store.selected?.kind === 'alert' ? store.selected.id : null;
  if (!store.cursor || !rows.has(store.cursor)) store.cursor = open || parted.needs[0]?.id || parted.hand[0]?.id || null;
  for (const [id, r] of rows) {
    attr(r.node, 'aria-current', id === store.cursor ? 'true' : null);
    r.key.hidden = id !== store.cursor;
    r.button.classList.toggle('primary', id === store.cursor && !store.selected);
  }
}

/** New critical alerts are read aloud, once. @param {import('./store.js').Alert[]} needs */
function speak(needs) {
  const newest = needs.filter((a) => a.severity === 'critical').sort((a, b) => b.seq - a.seq)[0];
  if (!newest || newest.id === spoken) return;
  spoken = newest.id;
  byId('live').textContent = `${t('critical')}: ${newest.lead}. ${newest.place}`;
}

function ages() {
  if (!parts) return;
  for (const [id, r] of rows) {
    const a = store.alerts.get(id);
    if (a) say(r.age, span(age(a, now())));
  }
  if (!inside || performance.now() - pointed_ms >= HOLD_MS) render();
}

/** @param {number} step */
export function moveCursor(step) {
  const ids = [...document.querySelectorAll('#queue [data-alert]')].filter((n) => n instanceof HTMLElement && n.offsetParent).map((n) => /** @type {HTMLElement} */ (n).dataset.alert || '');
  if (!ids.length) return;
  const at = ids.indexOf(store.cursor || '');
  const next = ids[Math.min(ids.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  store.cursor = next;
  if (store.selected?.kind === 'alert') select({ kind: 'alert', id: next });
  const node = rows.get(next)?.node;
  node?.focus({ preventScroll: true });
  node?.scrollIntoView({ block: 'nearest' });
  tell('cursor');
}

/** After an acknowledgement the cursor goes on to what needs somebody next. @param {string} done */
export function cursorOn(done) {
  const { needs } = sections();
  const next = needs.find((a) => a.id !== done);
  if (next && store.cursor === done && store.selected == null) {
    store.cursor = next.id;
    tell('cursor');
  }
}

export function startQueue() {
  on(['session', 'alerts', 'link', 'pending'], () => { render(); ages(); });
  on(['cursor', 'select'], () => { if (parts) mark(sections()); });
  setInterval(ages, 1000);
}
