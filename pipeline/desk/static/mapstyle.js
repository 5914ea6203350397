/** The map's style: the plan's own geometry as the base. Later layers are placed first, so the order of labels is their priority. */
import { named } from './words.js';
import { token } from './pictures.js';

/** Beside its place, or in a row above or below where others stand: see `stack`. */
const BESIDE = ['match', ['get', 'row'], ...[1, -1, 2, -2, 3, -3].flatMap((row) => [row, ['literal', [16, 22 * row]]]), ['literal', [16, 0]]];

export const fc = (/** @type {any[]} */ features) => ({ type: 'FeatureCollection', features });
export const feature = (/** @type {string} */ type, /** @type {any} */ coordinates, /** @type {any} */ properties = {}) => ({ type: 'Feature', properties, geometry: { type, coordinates } });
const source = (/** @type {any} */ data) => ({ type: 'geojson', data });

const KIND = /** @type {Record<string, string>} */ ({
  forbidden: 'forbidden', no_stopping: 'forbidden', coverage_gap: 'gap', tunnel: 'gap', site: 'site', residence: 'site', depot: 'site', home: 'site', safe_stop: 'halt', checkpoint: 'halt',
});

/** @param {any} plan the plan's GeoJSON */
export function base(plan) {
  /** @type {Record<string, any[]>} */
  const of = { area: [], corridor: [], route: [], checkpoint: [], km_post: [], place: [] };
  for (const f of plan.features) of[f.properties.layer]?.push(f);
  const label = (/** @type {any} */ f, /** @type {string} */ kind) => feature('Point', f.properties.label_at || f.geometry.coordinates, { icon: `t|${named(f.properties.name)}|${kind}` });
  const [w, s, e, n] = bounds(plan);
  const grid = [];
  for (let d = Math.floor(w * 4 - 8) / 4; d < e + 2; d += 0.25) grid.push(feature('LineString', [[d, s - 2], [d, n + 2]]));
  for (let d = Math.floor(s * 4 - 8) / 4; d < n + 2; d += 0.25) grid.push(feature('LineString', [[w - 2, d], [e + 2, d]]));
  return {
    grid: fc(grid), corridor: fc(of.corridor), route: fc(of.route),
    areas: fc(of.area.map((f) => ({ ...f, properties: { draw: KIND[f.properties.kind] || 'zone' } }))),
    areaNames: fc(of.area.map((f) => label(f, 'area'))),
    posts: fc(of.km_post.map((f) => feature('Point', f.geometry.coordinates, { step: f.properties.step, icon: `t|km ${f.properties.km}|km` }))),
    checkpoints: fc(of.checkpoint.map((f) => feature('Point', f.geometry.coordinates, {}))),
    towns: fc(of.place.map((f) => label(f, 'town'))),
  };
}

/** Where the plan's roads and areas are: west, south, east, north. @param {any} plan @returns {[number, number, number, number]} */
export function bounds(plan) {
  let [w, s, e, n] = [180, 90, -180, -90];
  const walk = (/** @type {any} */ c) => {
    if (typeof c[0] === 'number') { w = Math.min(w, c[0]); e = Math.max(e, c[0]); s = Math.min(s, c[1]); n = Math.max(n, c[1]); } else c.forEach(walk);
  };
  for (const f of plan.features) walk(f.geometry.coordinates);
  return w < e ? [w, s, e, n] : [72, 33, 75, 36];
}

const lay = (/** @type {string} */ id, /** @type {string} */ type, /** @type {string} */ src, /** @type {any} */ paint, extra = {}) => ({ id, type, source: src, paint, ...extra });
const only = (/** @type {string} */ key, /** @type {any} */ value) => ({ filter: ['==', ['get', key], value] });
const sign = (/** @type {string} */ id, /** @type {string} */ src, layout = {}, extra = {}) =>
  ({ id, type: 'symbol', source: src, ...extra, layout: { 'icon-image': ['coalesce', ['get', 'label'], ['get', 'icon']], 'icon-anchor': 'left', 'icon-padding': 1, ...layout } });
const round = { layout: { 'line-join': 'round', 'line-cap': 'round' } };

/** @param {any} data sources by name, those of `base` and of `moving` @param {?string} basemap tiles on this host: …{z}/{x}/{y}… */
export function style(data, basemap) {
  const sources = Object.fromEntries(Object.entries(data).map(([name, value]) => [name, source(value)]));
  return {
    version: 8,
    sources: { ...sources, ...(basemap && { tiles: { type: 'raster', tiles: [basemap], tileSize: 256 } }) },
    layers: [
      { id: 'bg', type: 'background', paint: { 'background-color': token('map') } },
      ...(basemap ? [lay('tiles', 'raster', 'tiles', { 'raster-saturation': -1, 'raster-opacity': 0.5 })] : [lay('grid', 'line', 'grid', { 'line-color': token('grid') })]),
      lay('corridor', 'fill', 'corridor', { 'fill-color': token('corridor'), 'fill-opacity': 0.9 }),
      lay('corridor-edge', 'line', 'corridor', { 'line-color': token('corridor'), 'line-width': 3 }, round),
      ...['forbidden', 'gap'].map((k) => lay(k, 'fill', 'areas', { 'fill-pattern': `p|${k}` }, only('draw', k))),
      ...[['zone', [6, 4], 1], ['site', null, 2], ['halt', null, 1], ['forbidden', [4, 2], 1.5], ['gap', [1, 2], 1.5]].map(([k, dash, w]) =>
        lay(k + '-edge', 'line', 'areas', { 'line-color': token('area'), 'line-width': w, ...(dash && { 'line-dasharray': dash }) }, only('draw', k))),
      lay('route', 'line', 'route', { 'line-color': token('road'), 'line-width': ['interpolate', ['linear'], ['zoom'], 7, 1.2, 13, 2.5] }, round),
      lay('post', 'circle', 'posts', { 'circle-radius': 2.2, 'circle-color': token('map'), 'circle-stroke-color': token('road'), 'circle-stroke-width': 1.2 }, { filter: ['>=', ['get', 'step'], ['step', ['zoom'], 10, 10.5, 5, 12, 1]] }),
      lay('checkpoint', 'circle', 'checkpoints', { 'circle-radius': 4, 'circle-color': token('map'), 'circle-stroke-color': token('ink-2'), 'circle-stroke-width': 1.8 }, { minzoom: 9 }),
      lay('acc', 'fill', 'accuracy', { 'fill-color': ['get', 'colour'], 'fill-opacity': 0.14 }),
      lay('acc-edge', 'line', 'accuracy', { 'line-color': ['get', 'colour'], 'line-width': 1, 'line-opacity': 0.8 }),
      lay('trail', 'line', 'trail', { 'line-color': ['get', 'colour'], 'line-width': 2.5 }, { filter: ['==', ['geometry-type'], 'LineString'], ...round }),
      lay('tick', 'circle', 'trail', { 'circle-radius': 3, 'circle-color': ['get', 'colour'] }, { filter: ['==', ['geometry-type'], 'Point'], minzoom: 9 }),
      lay('chosen', 'circle', 'chosen', { 'circle-radius': 17, 'circle-color': 'rgba(0,0,0,0)', 'circle-stroke-color': token('focus'), 'circle-stroke-width': 2 }),
      sign('km', 'posts', { 'icon-offset': [8, 0], 'symbol-sort-key': ['-', 0, ['get', 'step']] }, { filter: ['>=', ['get', 'step'], ['step', ['zoom'], 50, 9.5, 10, 11, 5, 12.5, 1]] }),
      sign('area-name', 'areaNames', { 'icon-anchor': 'center' }, { minzoom: 10 }),
      sign('times', 'trail', { 'icon-anchor': 'right', 'icon-offset': [-6, 0] }, { filter: ['has', 'icon'], minzoom: 10 }),
      sign('signs', 'vehicles', { 'icon-offset': [9, 0], 'symbol-sort-key': ['get', 'rank'] }, { filter: ['all', ['>=', ['get', 'rank'], 4], ['==', ['get', 'convoy'], 0]] }),
      sign('convoy-signs', 'vehicles', { 'icon-offset': [9, 0], 'symbol-sort-key': ['get', 'rank'] }, { filter: ['==', ['get', 'convoy'], 1], minzoom: 10.5 }),
      sign('tags', 'tags', { 'icon-anchor': 'right', 'icon-offset': [-10, 0] }, { maxzoom: 10.5 }),
      sign('towns', 'towns', { 'icon-anchor': 'right', 'icon-offset': [-12, -8] }),
      { id: 'vehicles', type: 'symbol', source: 'vehicles', paint: { 'icon-opacity': ['get', 'fade'] }, layout: { 'icon-image': ['get', 'icon'], 'icon-rotate': ['get', 'h'], 'icon-rotation-alignment': 'map', 'icon-allow-overlap': true, 'icon-ignore-placement': true, 'icon-size': ['interpolate', ['linear'], ['zoom'], 8, ['case', ['<', ['get', 'rank'], 4], 1.1, 0.68], 12, ['case', ['<', ['get', 'rank'], 4], 1.2, 1]], 'symbol-sort-key': ['-', 10, ['get', 'rank']] } },
      { id: 'spots', type: 'symbol', source: 'spots', layout: { 'icon-image': ['get', 'icon'], 'icon-allow-overlap': true, 'icon-ignore-placement': true } },
      sign('spot-chips', 'spots', { 'icon-image': ['get', 'label'], 'icon-offset': BESIDE, 'icon-allow-overlap': true, 'symbol-sort-key': ['get', 'rank'] }),
      sign('chips', 'vehicles', { 'icon-offset': BESIDE, 'icon-allow-overlap': true, 'symbol-sort-key': ['get', 'rank'] }, { filter: ['<', ['get', 'rank'], 4] }),
    ],
  };
}
