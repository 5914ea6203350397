/** The API as a list, from its own description: no library, nothing from elsewhere. */
import { el } from './dom.js';

const spec = await (await fetch('/api/openapi.json')).json();
const out = /** @type {HTMLElement} */ (document.getElementById('docs'));
for (const [path, methods] of Object.entries(spec.paths)) {
  for (const [method, what] of Object.entries(/** @type {any} */ (methods))) {
    const parameters = (what.parameters || []).map((/** @type {any} */ p) => `${p.name} (${p.in}${p.required ? ', needed' : ''})`);
    const body = what.requestBody?.content?.['application/json']?.schema?.$ref?.split('/').pop();
    const fields = body ? Object.keys(spec.components.schemas[body].properties) : [];
    out.append(
      el('section', {}, el('h2', {}, el('b', {}, method.toUpperCase()), ' ', el('code', {}, path)),
        what.description && el('p', {}, what.description),
        parameters.length > 0 && el('p', { class: 'dim' }, 'Parameters: ', parameters.join(', ')),
        body && el('p', { class: 'dim' }, `Body, JSON: ${fields.join(', ')}`)),
    );
  }
}
