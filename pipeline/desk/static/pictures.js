/** What stands on the map is drawn to a canvas on demand, from the tokens: no glyph and no sprite is fetched. */
import { ARROW, SHAPE, STANDING } from './icons.js';
import { SEVERITIES } from './alerts.js';

export const token = (/** @type {string} */ name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
const RTL = /[\u0600-\u06ff]/;
const MOST = 3000;

/** @param {number} w @param {number} h */
function canvas(w, h) {
  const c = document.createElement('canvas');
  c.width = Math.ceil(w * 2);
  c.height = Math.ceil(h * 2);
  const g = /** @type {CanvasRenderingContext2D} */ (c.getContext('2d', { willReadFrequently: true }));
  g.scale(2, 2);
  return g;
}

/** `v|role|severity`: an arrow; `d|role|severity`: no heading known. @param {string} path @param {string} role @param {string} severity */
function vehicle(path, role, severity) {
  const g = canvas(28, 28);
  const colour = token(severity ? severity + '-fill' : 'vehicle');
  const p = new Path2D(path);
  g.translate(2, 2);
  g.lineJoin = 'round';
  g.lineWidth = 5;
  g.strokeStyle = token('halo');
  g.stroke(p);
  g.fillStyle = role === 'escort' && !severity ? token('map') : colour;
  g.fill(p);
  g.lineWidth = severity ? 1.5 : 2;
  g.strokeStyle = severity ? token(severity) : colour;
  g.stroke(p);
  return g;
}

/** `s|severity|new`: an alert that has a place but no vehicle. @param {string} severity @param {boolean} fresh */
function spot(severity, fresh) {
  const g = canvas(26, 26);
  const p = new Path2D(SHAPE[/** @type {keyof typeof SHAPE} */ (severity)]);
  g.translate(3, 3);
  g.lineJoin = 'round';
  g.lineWidth = 6;
  g.strokeStyle = token('halo');
  g.stroke(p);
  g.fillStyle = fresh ? token(severity + '-fill') : token('map');
  g.fill(p);
  g.lineWidth = 2;
  g.strokeStyle = token(severity);
  g.stroke(p);
  return g;
}

/** `t|words|kind`: town, km, sign, stale, area, trail; or a severity: a filled chip, `severity-ack`: an outlined one. @param {string} words @param {string} kind */
function text(words, kind) {
  const [severity, ack] = kind.split('-');
  const chip = SEVERITIES.includes(/** @type {any} */ (severity));
  const size = { town: 14, km: 11, area: 11, trail: 11 }[kind] || 12.5;
  const font = `${chip || kind === 'town' ? 600 : 400} ${size}px ${token(RTL.test(words) ? 'font-ur' : 'font')}`;
  let g = canvas(4, 4);
  g.font = font;
  const w = Math.ceil(g.measureText(words).width) + 12;
  const h = size + 8;
  g = canvas(w, h);
  g.font = font;
  g.textAlign = 'left';
  if (RTL.test(words)) g.direction = 'rtl';
  g.textBaseline = 'middle';
  g.lineJoin = 'round';
  if (chip) {
    g.fillStyle = token(ack ? 'panel' : severity + '-fill');
    g.beginPath();
    g.roundRect(0.5, 0.5, w - 1, h - 1, 3);
    g.fill();
    g.strokeStyle = token(severity);
    g.stroke();
    g.fillStyle = token(ack ? severity : severity + '-on');
  } else {
    g.strokeStyle = token('halo');
    g.lineWidth = 3.5;
    g.strokeText(words, 6, h / 2);
    g.fillStyle = token({ town: 'ink', sign: 'ink', trail: 'ink' }[kind] || 'ink-2');
  }
  g.fillText(words, 6, h / 2 + 0.5);
  return g;
}

/** `p|forbidden`: hatch; `p|gap`: dots. @param {string} kind */
function pattern(kind) {
  const g = canvas(12, 12);
  g.strokeStyle = g.fillStyle = token('area');
  g.globalAlpha = 0.55;
  g.lineWidth = 1;
  g.beginPath();
  if (kind === 'forbidden') for (const o of [-12, 0, 12]) { g.moveTo(o, 12); g.lineTo(o + 12, 0); }
  else { g.arc(6, 6, 1.1, 0, 7); g.fill(); }
  g.stroke();
  return g;
}

/** Draw what the style asks for; forget words that are no longer shown, so that weeks of ages do not pile up. @param {any} map @param {() => Set<string>} shown */
export function drawOnDemand(map, shown) {
  map.on('styleimagemissing', (/** @type {{id: string}} */ { id }) => {
    const [what, a, b] = id.split('|');
    const g = what === 'v' ? vehicle(ARROW[a] || ARROW.unknown, a, b) : what === 'd' ? vehicle(STANDING, a, b) : what === 's' ? spot(a, b === 'new') : what === 't' ? text(a, b) : pattern(a);
    const c = g.canvas;
    if (!map.hasImage(id)) map.addImage(id, g.getImageData(0, 0, c.width, c.height), { pixelRatio: 2 });
    const words = map.listImages().filter((/** @type {string} */ i) => i.startsWith('t|'));
    if (words.length > MOST) {
      const keep = shown();
      for (const old of words) if (old !== id && !keep.has(old)) map.removeImage(old);
    }
  });
}
