/** A story's captions, as they come due: "00:40 the coach leaves the road". */
import { byId, el, say } from './dom.js';
import { into, now } from './time.js';
import { on, store } from './store.js';
import { t } from './words.js';

const SHOWN_US = 300e6;     // a story that is over goes away
/** @type {any} */
let parts = null;
let dismissed = 0;

function render() {
  const box = byId('caption');
  if (!parts) {
    parts = { time: el('time', {}), text: el('span', {}), story: 0 };
    box.append(parts.time, parts.text, el('button', { 'aria-label': t('Hide'), onclick: () => { dismissed = store.story.captions.at(-1)?.[0] || 0; render(); } }, '×'));
  }
  const due = store.story.captions.filter((/** @type {any} */ c) => c[0] <= now());
  const last = due.at(-1);
  box.hidden = !last || last[0] <= dismissed || now() - last[0] > SHOWN_US;
  if (box.hidden) return;
  say(parts.time, into(last[0] - store.story.starts_us));
  say(parts.text, last[1]);
}

export function startCaptions() {
  on(['story', 'clock'], render);
  setInterval(render, 500);
}
