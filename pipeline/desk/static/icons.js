/** Shapes. A severity's shape and a role's arrow mean the same on the page, on the map and in the strip. */
import { svg } from './dom.js';

export const SHAPE = { critical: 'M3 3H17V17H3Z', high: 'M10 2 18.5 17.5H1.5Z', medium: 'M10 1 19 10 10 19 1 10Z', low: 'M10 2.5a7.5 7.5 0 1 0 .01 0Z' };

/** Heading north in a 24 x 24 box: the role is in the shape. @type {Record<string, string>} */
export const ARROW = {
  principal: 'M12 2 20 21 12 17 4 21Z', escort: 'M12 3 18 20 12 16.5 6 20Z', patrol: 'M12 2 19 13H5ZM5 17H19V20.5H5Z', logistics: 'M12 3 19 10V20H5V10Z',
  unknown: 'M12 3 18 20 12 16.5 6 20Z',
};
/** When no heading is known. */
export const STANDING = 'M12 5a7 7 0 1 0 .01 0Z';

/** @param {string} severity */
export const shape = (severity, cls = '') =>
  svg('svg', { class: `shape ${cls}`, viewBox: '0 0 20 20', 'aria-hidden': 'true' },
    svg('path', { d: SHAPE[/** @type {keyof typeof SHAPE} */ (severity)] || SHAPE.low }), svg('path', { class: 'cut', d: 'M1 15 19 5' }));

/** @param {string} role @param {string} [cls] @param {number} [turn] */
export const arrow = (role, cls = '', turn = 0) =>
  svg('svg', { class: cls, viewBox: '0 0 24 24', 'aria-hidden': 'true' }, svg('path', { transform: `rotate(${turn} 12 12)`, d: ARROW[role] || ARROW.unknown }));
