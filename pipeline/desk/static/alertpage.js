/** An alert's page: what, where, since when; what to do; whom to call; the evidence; what everybody did; and the buttons. */
import { attr, el, say } from './dom.js';
import { select, store, vehicleOf } from './store.js';
import { HELD, ownerOf, section, steps, who } from './alerts.js';
import { behindRows, toldRows } from './answered.js';
import { clock, now, span, when } from './time.js';
import { shape } from './icons.js';
import { named, t, whole } from './words.js';
import { act } from './actions.js';
import { back } from './drawer.js';
import { isStale, sign } from './fleet.js';
import { showAt } from './map.js';
import { forms } from './forms.js';

const TOLD = /** @type {Record<string, string>} */ ({
  opened: 'Alert raised', grew: 'Graver now', amended: 'Corrected by later data', cleared: 'Over', acknowledged: 'Acknowledged', unacknowledged: 'Acknowledgement taken back', shelved: 'Shelved',
  unshelved: 'Taken off the shelf', escalated: 'Escalated', told: 'Told', noted: 'Note', handed_over: 'Handed over', merged: 'Joined to another alert', held: 'Held', realarmed: 'Still there: it needs somebody again', retracted: 'Taken back: later data disprove it', closed: 'Closed',
});

/** @param {any} s a step of the timeline */
function stepWords(s) {
  if (s.transition === 'held') return `${t('Held')}: ${t(HELD[s.reason] || s.reason)}`;
  const person = s.actor && s.actor !== 'policy' ? ` ${t('by {who}', { who: t(who(s.actor)) })}` : '';
  return `${t(TOLD[s.transition] || s.transition)}${person}${s.detail ? `: ${s.detail}` : ''}`;
}

/** @param {HTMLElement} drawer @param {string} id */
export function alertPage(drawer, id) {
  const first = store.alerts.get(id);
  const p = {
    word: el('span', { class: 'word' }), state: el('span', { class: 'dim' }), h2: el('h2', { tabindex: '-1' }), where: el('p', { class: 'where' }), others: el('p', { class: 'others' }),
    facts: [el('dd', {}), el('dd', {}), el('dd', {})], names: [el('dt', {}), el('dt', {}), el('dt', {})], steps: el('ol', { class: 'steps' }), plan: el('h3', {}, t('WHAT TO DO')),
    near: el('tbody', {}), nearBox: el('div', { hidden: true }), told: el('div', {}), behind: el('div', {}), evidence: el('div', { class: 'later' }), log: el('ol', { class: 'log' }), shape: shape(first?.severity || 'low'), bar: /** @type {any} */ (null),
    scroll: /** @type {any} */ (null), main: el('button', { class: 'primary' }), fault: el('p', { class: 'fault', role: 'alert' }), go: el('button', { onclick: go }, t('Show on map')),
    vehicle: el('button', { onclick: () => { const v = vehicleOf({ kind: 'alert', id }); if (v) select({ kind: 'vehicle', id: v }); } }),
  };
  let seq = -1;
  let severity = '';
  /** @type {any[]} */
  let near = [];
  p.bar = el('div', { class: 'bar' }, p.shape, p.word, p.state, el('button', { class: 'back', onclick: back }, t('Back'), el('kbd', {}, 'Esc')));
  p.nearBox.append(el('h3', {}, t('WHOM TO CALL')), el('table', {}, el('thead', {}, el('tr', {}, el('th', {}, t('unit')), el('th', {}), el('th', { class: 'num' }, t('distance')), el('th', { class: 'num' }, t('fix')))), p.near));
  p.scroll = el('div', { class: 'scroll' }, p.bar, p.h2, p.where, p.others, el('dl', { class: 'facts' }, p.names.map((dt, i) => el('div', {}, dt, p.facts[i]))), el('div', { class: 'go wall' }, p.go, p.vehicle), p.plan, p.steps, p.nearBox, p.told, p.behind, p.evidence, el('h3', {}, t('TIMELINE')), p.log);
  const ask = forms(id);
  const tools = [
    el('button', { onclick: () => ask.open('note') }, t('Note'), el('kbd', {}, 'n')), el('button', { onclick: () => (store.alerts.get(id)?.shelved_until_us != null ? void act(id, 'unshelve') : ask.open('shelve')) }, el('span', {}, t('Shelve')), el('kbd', {}, 's')),
    el('button', { onclick: () => ask.open('hand_over') }, t('Hand over'), el('kbd', {}, 'h')), el('button', { onclick: () => ask.open('close') }, t('Close'), el('kbd', {}, 'c')),
  ];
  const operator = store.session.acts;
  const acts = el('div', { class: 'acts' }, p.fault, ask.node, operator ? [p.main, tools] : el('p', { class: 'viewer' }, t('You may look, not act.')));
  drawer.append(p.scroll, acts);
  p.main.onclick = () => {
    const a = store.alerts.get(id);
    if (a && a.acknowledged_at_us == null) void act(id, 'acknowledge');
    else if (a && section(a) !== 'closed') ask.open('close');
  };
  p.h2.focus({ preventScroll: true });

  function go() {
    const a = store.alerts.get(id);
    const at = store.positions.get(a?.subject || '') || a;
    if (at?.lat != null && at.lon != null) showAt(at.lon, at.lat);
  }

  async function load() {
    const answer = await fetch(`/api/alerts/${encodeURIComponent(id)}`).catch(() => null);
    if (!answer?.ok) return;
    const page = await answer.json();
    const lines = page.timeline.slice().reverse();
    p.log.replaceChildren(...lines.map((/** @type {any} */ s) => el('li', {}, el('time', {}, when(s.at_us)), el('span', {}, whole(stepWords(s))))));
    near = page.nearest;
    p.told.replaceChildren(...toldRows(page.timeline));
    p.behind.replaceChildren(...behindRows(page.behind));
    evidence(page);
    nearest();
  }

  function nearest() {
    const subject = store.alerts.get(id)?.subject;
    p.nearBox.hidden = near.length === 0;
    p.near.replaceChildren(...near.map((u) => {
      const v = store.vehicles[u.vehicle];
      const at = store.positions.get(u.vehicle);
      const what = u.vehicle === subject ? t('itself') : [t(v?.role || ''), v?.kind !== v?.role ? v?.kind : ''].filter(Boolean).join(', ');
      const far = u.m < 950 ? `${Math.round(u.m / 10) * 10} m` : `${(u.m / 1000).toFixed(u.m < 9500 ? 1 : 0)} km`;
      return el('tr', {}, el('td', { class: 'sign' }, el('button', { onclick: () => select({ kind: 'vehicle', id: u.vehicle }) }, sign(u.vehicle))), el('td', { class: 'dim' }, what),
        el('td', { class: 'num' }, u.vehicle === subject ? t('at the scene') : `${far}${u.by_road ? t(' by road') : t(' direct')}`), el('td', { class: 'num', 'data-age': u.vehicle }, at ? span(now() - at.seen) : ''));
    }));
  }

  /** What the rule saw; for a distance from the road, its growth. @param {any} page */
  function evidence(page) {
    const { lat, lon, ...rest } = page.alert.evidence || {};
    const place = typeof lat === 'number' && typeof lon === 'number' ? { position: `${lat.toFixed(5)}, ${lon.toFixed(5)}` } : {};
    const facts = Object.entries({ ...rest, ...place }).filter(([, v]) => ['number', 'string', 'boolean'].includes(typeof v)).slice(0, 8);
    if (!facts.length) return p.evidence.replaceChildren();
    return p.evidence.replaceChildren(el('h3', {}, t('EVIDENCE')), el('table', {}, facts.map(([k, v]) => el('tr', {}, el('td', { class: 'dim' }, k.replace(/_(m|s|mps|deg|us|at)$/, '').replace(/_/g, ' ')), el('td', { class: 'num' }, figure(k, v))))));
  }

  function patch() {
    const a = store.alerts.get(id);
    if (!a) {
      say(p.h2, t('This alert is no longer here.'));
      return;
    }
    const part = section(a);
    attr(p.scroll, 'class', `scroll ${a.severity}${part === 'needs' ? ' new' : part === 'hand' ? ' ack' : ' cleared'}${a.cleared_at_us != null ? ' ended' : ''}`);
    if (severity !== a.severity) {
      severity = a.severity;
      const fresh = shape(severity);
      p.shape.replaceWith(fresh);
      p.shape = fresh;
    }
    say(p.word, t(a.severity).toUpperCase());
    const until = a.opened_at_us + a.respond_within_us - now();
    say(p.state, part === 'needs' ? t('not taken for {age}', { age: span(now() - a.opened_at_us) }) : part === 'closed' ? t('closed: {outcome}', { outcome: a.outcome || '' }) : part === 'held' ? t(HELD[a.held] || a.held) : part === 'shelved' ? t('on the shelf until {time}, by {who}', { time: when(a.shelved_until_us || 0, false), who: t(who(a.shelved_by)) }) + (a.shelved_why ? `: ${a.shelved_why}` : '') : a.acknowledged_at_us == null ? '' : t('taken by {who}', { who: t(who(a.acknowledged_by)) }) + (a.owner && a.owner !== a.acknowledged_by ? `, ${t('now with {who}', { who: t(who(a.owner)) })}` : ''));
    say(p.others, whole(a.others || ''));
    say(p.h2, whole(a.lead));
    say(p.where, whole(a.place) + (a.late ? ` · ${t('came late')}` : ''));
    const v = vehicleOf({ kind: 'alert', id });
    const at = v ? store.positions.get(v) : null;
    const facts = [
      part === 'needs' ? [t('Answer due'), until > 0 ? t('in {time}', { time: span(until) }) : t('{time} ago', { time: span(-until) })] : [t(a.cleared_at_us != null ? 'It lasted' : 'Since'), a.cleared_at_us != null ? span(a.cleared_at_us - a.began_at_us) : when(a.began_at_us)],
      at ? [t('Last fix'), `${span(now() - at.seen)}${at.accuracy ? `, ± ${Math.round(at.accuracy)} m` : ''}`] : [t('Began'), when(a.began_at_us)],
      at ? [t('Moving'), at.speed == null ? '?' : at.speed < 0.6 ? t('stands') : `${Math.round(at.speed * 3.6)} km/h${heading(at.course)}`] : [t('Whose'), t(who(ownerOf(a))) || a.owner_post.replace(/-/g, ' ')],
    ];
    facts.forEach(([name, value], i) => { say(p.names[i], name); say(p.facts[i], whole(value)); });
    p.facts[0].classList.toggle('over', part === 'needs' && until <= 0);
    p.facts[1].classList.toggle('over', !!at && isStale(at));
    if (v) say(p.vehicle, sign(v));
    p.vehicle.hidden = !v;
    p.go.hidden = !at && a.lat == null;
    const todo = steps(a.response);
    if (p.steps.childElementCount !== todo.length) p.steps.replaceChildren(...todo.map((s) => el('li', {}, el('span', {}, s))));
    const region = store.session.regions.find((/** @type {any} */ r) => r.id === a.region);
    say(p.plan, `${t('WHAT TO DO')}${region ? ` (${t('plan')} ${named(region.name)}, ${a.rule})` : ''}`);
    p.plan.hidden = todo.length === 0;
    const pending = store.pending.get(id);
    const busy = !!pending && !pending.fault;
    p.main.disabled = busy || part === 'closed';
    say(tools[1].firstChild, a.shelved_until_us != null ? t('Off the shelf') : t('Shelve'));
    p.main.replaceChildren(...(a.acknowledged_at_us == null && part !== 'closed' ? [busy ? t('Sending…') : t('Acknowledge'), el('kbd', {}, 'a')] : part === 'closed' ? [t('Closed')] : [t('Close with its outcome'), el('kbd', {}, 'c')]));
    tools.forEach((b, i) => { b.disabled = (part === 'closed' && i > 0) || (i === 1 && a.severity === 'critical'); b.hidden = i === 3 && a.acknowledged_at_us != null; });
    say(p.fault, pending?.fault || '');
    for (const cell of p.near.querySelectorAll('[data-age]')) { const u = store.positions.get(cell.dataset.age); if (u) say(cell, span(now() - u.seen)); }
    if (a.seq !== seq) {
      seq = a.seq;
      void load();
    }
  }
  return { patch };
}

/** @param {?number} course */
export const heading = (course) => (course == null ? '' : `, ${t(['north', 'north-east', 'east', 'south-east', 'south', 'south-west', 'west', 'north-west'][Math.round(course / 45) % 8])}`);

/** @param {string} name @param {any} value */
function figure(name, value) {
  if (name.endsWith('_at') && typeof value === 'string') return when(Date.parse(value) * 1000);
  if (typeof value !== 'number') return String(value);
  if (name.endsWith('_us')) return value > 1e15 ? clock(value) : span(value);
  if (name.endsWith('_mps')) return `${Math.round(value * 3.6)} km/h`;
  const unit = name.endsWith('_m') ? ' m' : name.endsWith('_s') ? ' s' : name.endsWith('_deg') ? '°' : '';
  return `${Math.abs(value) >= 20 ? Math.round(value).toLocaleString('en') : Math.round(value * 100) / 100}${unit}`;
}
