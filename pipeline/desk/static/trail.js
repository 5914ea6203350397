/** A vehicle's trail: fetched when it is selected, lengthened as fixes come. */
import { feature } from './mapstyle.js';
import { token } from './pictures.js';
import { on, store, tell, vehicleOf } from './store.js';
import { clock, now } from './time.js';
import { evidenceSpan } from './answered.js';
import { gravest } from './alerts.js';

const MINUTES = 30;
const MOST = 4000;

/** @type {{vehicle: ?string, points: number[][]}} rows of the API: seen_at_us, lat, lon, speed_mps, accuracy_m */
export const trail = { vehicle: null, points: [] };

async function fetchTrail() {
  const vehicle = vehicleOf(store.selected);
  if (vehicle === trail.vehicle && !(evidenceSpan() && trail.points.length && evidenceSpan()[0] < trail.points[0][0])) return;
  trail.vehicle = vehicle;
  trail.points = [];
  tell('positions');
  if (!vehicle) return;
  const span = evidenceSpan();
  const minutes = Math.min(720, Math.max(MINUTES, span ? Math.ceil((now() - span[0]) / 60e6) + 5 : 0)); // back to where the alert began
  const answer = await fetch(`/api/vehicles/${encodeURIComponent(vehicle)}/trail?minutes=${minutes}`).catch(() => null);
  if (!answer?.ok || trail.vehicle !== vehicle) return;
  const later = trail.points;
  trail.points = (await answer.json()).points;
  const last = trail.points.at(-1)?.[0] || 0;
  trail.points.push(...later.filter((p) => p[0] > last));
  tell('positions', 'select');
}

function lengthen() {
  const p = trail.vehicle && store.positions.get(trail.vehicle);
  if (!p || p.seen <= (trail.points.at(-1)?.[0] || 0)) return;
  trail.points.push([p.seen, p.lat, p.lon, p.speed ?? 0, p.accuracy ?? 0]);
  if (trail.points.length > MOST) trail.points.splice(0, MOST / 4);
}

/** The line, and a tick with its time about every eighth of it. */
export function trailFeatures() {
  const { points, vehicle } = trail;
  if (!vehicle || points.length < 2) return [];
  const colour = token((gravest(vehicle)?.severity || '') + (gravest(vehicle) ? '-fill' : 'ink-2'));
  const out = [feature('LineString', points.map((p) => [p[2], p[1]]), { colour })];
  const long = now() - points[0][0];
  const step = [60e6, 120e6, 300e6, 600e6, 1800e6, 3600e6].find((s) => long / s <= 8) || 7200e6;
  let due = 0;
  for (const p of points.slice(0, -1)) {
    if (p[0] < due) continue;
    due = (Math.floor(p[0] / step) + 1) * step;
    out.push(feature('Point', [p[2], p[1]], { colour, icon: `t|${clock(p[0])}|trail` }));
  }
  return out;
}

export function startTrail() {
  on(['select'], () => void fetchTrail());
  on(['positions'], lengthen);
}
