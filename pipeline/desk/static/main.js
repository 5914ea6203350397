/** The desk's page: fetch who I am and the plan, then listen. */
import { on, select, store, tell } from './store.js';
import { setClock } from './time.js';
import { connect } from './stream.js';
import { startTopbar } from './topbar.js';
import { startQueue } from './queue.js';
import { startMap } from './map.js';
import { startDrawer } from './drawer.js';
import { startTrail } from './trail.js';
import { startStrip } from './strip.js';
import { startCaptions } from './captions.js';
import { startKeys } from './keys.js';
import { startSound } from './sound.js';
import { byId, el } from './dom.js';
import { t } from './words.js';

/** @param {string} path */
async function get(path) {
  const answer = await fetch(path);
  if (answer.status === 401) {
    location.assign('/login');
    await new Promise(() => {});
  }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

/** Until the server answers: a desk that is opened while it starts again waits for it. */
async function begin() {
  for (;;) {
    try {
      return await Promise.all([get('/api/session'), get('/api/plan.geojson')]);
    } catch {
      document.title = t('Rahdar desk: the server does not answer');
      await new Promise((resolve) => setTimeout(resolve, 1500));
    }
  }
}

const [session, plan] = await begin();
store.session = session;
store.vehicles = session.vehicles;
store.plan = plan;
setClock(Date.now() * 1000, session.speed);

startTopbar();
startQueue();
startDrawer();
startTrail();
startStrip();
startCaptions();
startKeys();
startSound();
// the wall's and a message's link: `/?alert=ID` opens that alert as soon as it is known, and acknowledges nothing
let asked = new URLSearchParams(location.search).get('alert') || '';
on(['alerts'], () => {
  if (!asked || !store.alerts.has(asked)) return;
  const id = asked;
  asked = '';
  history.replaceState(null, '', location.pathname);
  select({ kind: 'alert', id });
});
connect();
tell('session');
byId('queue').after(el('button', { id: 'tomap', onclick: (/** @type {any} */ e) => { const shown = document.body.classList.toggle('showmap'); e.target.textContent = t(shown ? 'Queue' : 'Map'); } }, t('Map')));
startMap().catch((error) => {
  // a screen without WebGL still has its queue, which is what matters
  console.error(error);
  byId('map').replaceChildren(el('p', { class: 'empty' }, t('The map cannot be drawn on this machine (WebGL is off). The queue works.')));
});
