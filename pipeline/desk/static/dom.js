/** Building and patching nodes. Text is always text: nothing here parses HTML. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [props] `class`, `on<event>`, attributes; false and null leave one out
 * @param {...any} children nodes, strings, arrays; false and null are left out
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** @param {string} tag @param {Record<string, any>} [props] @param {...any} children @returns {any} */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), props, children);
}

/** @param {Element} node @param {Record<string, any>} props @param {any[]} children */
function fill(node, props, children) {
  for (const [key, value] of Object.entries(props)) {
    if (value === false || value == null) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : String(value));
  }
  node.append(...children.flat(Infinity).filter((c) => c !== false && c != null));
  return node;
}

/** Write only what differs, so that nothing that is read aloud or selected is disturbed. @param {Element} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {Element} node @param {string} name @param {string | null | false} value */
export function attr(node, name, value) {
  if (value == null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** A custom property, by CSSOM: the page's policy allows no style attributes. @param {any} node @param {Record<string, string>} values */
export function vars(node, values) {
  for (const [name, value] of Object.entries(values)) node.style.setProperty(name, value);
  return node;
}

/** Bring a parent's children into this order with as few moves as there are. @param {Element} parent @param {Element[]} wanted */
export function order(parent, wanted) {
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const node of wanted) {
    if (node === at) at = at.nextElementSibling;
    else parent.insertBefore(node, at);
  }
}
