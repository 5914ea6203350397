/** Critical only, repeated until somebody has it. Browsers are silent before a click, so the page says whether it can be heard. */
import { on, store, tell } from './store.js';
import { section } from './alerts.js';
import { byId, el, say } from './dom.js';
import { span } from './time.js';
import { t } from './words.js';

/** @type {?AudioContext} */
let audio = null;
let last_ms = -1e9;
let lost_ms = 0;
let armed_ms = -1e9;
const EVERY_MS = 4000;
const LOST_MS = 30000;

const wanted = () => localStorage.getItem('sound') !== 'off';

function arm() {
  if (!wanted() || audio?.state === 'running') return;
  armed_ms = performance.now();
  audio = audio || new AudioContext();
  void audio.resume().then(() => tell('sound'));
}

export function soundWord() {
  if (!wanted()) return t('Off');
  return audio?.state === 'running' ? t('Armed') : t('Click to arm');
}

export function toggleSound() {
  if (performance.now() - armed_ms < 800) return; // this very press has armed it
  const off = wanted() && audio?.state === 'running';
  localStorage.setItem('sound', off ? 'off' : 'on');
  if (off) void audio?.suspend();
  else arm();
  tell('sound');
}

/** Two tones, like nothing else in a control room. @param {number[]} tones */
function ring(tones) {
  if (!audio || audio.state !== 'running') return;
  tones.forEach((hertz, i) => {
    const from = /** @type {AudioContext} */ (audio).currentTime + i * 0.22;
    const tone = /** @type {AudioContext} */ (audio).createOscillator();
    const loud = /** @type {AudioContext} */ (audio).createGain();
    tone.frequency.value = hertz;
    loud.gain.setValueAtTime(0, from);
    loud.gain.linearRampToValueAtTime(0.25, from + 0.02);
    loud.gain.linearRampToValueAtTime(0, from + 0.2);
    tone.connect(loud).connect(/** @type {AudioContext} */ (audio).destination);
    tone.start(from);
    tone.stop(from + 0.21);
  });
}

/** How long the server has been away, in milliseconds; 0: it is there. */
export const lostFor = () => (lost_ms ? performance.now() - lost_ms : 0);
export const LOUD_AFTER_MS = LOST_MS;

/** A sign that nobody passes over, not even on a screen across the room. @param {number} ms */
function sign(ms) {
  const cut = ms > LOST_MS;
  const box = byId('lost');
  if (box.hidden === !cut) return cut && say(box.lastChild, t('for {age}', { age: span(ms * 1000) }));
  box.hidden = !cut;
  document.body.classList.toggle('lost', cut);
  if (cut && !box.firstChild) box.append(el('b', {}, t('SERVER LOST')), el('span', {}, t('Nothing on this screen is current. Use the radio and call the duty engineer.')), el('span', { class: 'age' }));
  return cut;
}

function watch() {
  const t_ms = performance.now();
  if (store.link === 'lost') lost_ms = lost_ms || t_ms;
  else lost_ms = 0;
  const cut = lost_ms > 0 && t_ms - lost_ms > LOST_MS;
  sign(lostFor());
  const critical = [...store.alerts.values()].some((a) => a.severity === 'critical' && section(a) === 'needs');
  if ((critical || cut) && t_ms - last_ms >= EVERY_MS) {
    last_ms = t_ms;
    ring(cut ? [440, 330] : [880, 660, 880]);
  }
}

export function startSound() {
  for (const name of ['pointerdown', 'keydown']) addEventListener(name, arm, { capture: true });
  on(['alerts', 'link'], watch);
  setInterval(watch, 1000);
}
