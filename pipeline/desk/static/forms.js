/** What an act asks for before it is sent: a note, how long, to whom, what it turned out to be. */
import { byId, el } from './dom.js';
import { act } from './actions.js';
import { t } from './words.js';

/** @param {string} id the alert's */
export function forms(id) {
  const node = el('form', { class: 'ask', hidden: true });
  /** @type {any} */
  let what = null;
  const two = (/** @type {string} */ words) => el('div', { class: 'two' }, el('button', { class: 'primary', type: 'submit' }, words), el('button', { type: 'button', onclick: shut }, t('Cancel')));
  const choices = (/** @type {string} */ name, /** @type {[string, string][]} */ list, chosen = '') =>
    el('div', { class: 'choices', role: 'radiogroup' }, list.map(([value, words]) => el('label', {}, el('input', { type: 'radio', name, value, required: true, checked: value === chosen }), t(words))));
  const text = (/** @type {string} */ name, /** @type {string} */ hint, needed = false) => el('input', { type: 'text', name, placeholder: t(hint), 'aria-label': t(hint), required: needed, maxlength: '2000', autocomplete: 'off' });

  const CONTENT = /** @type {Record<string, () => any[]>} */ ({
    note: () => [el('textarea', { name: 'text', rows: '3', required: true, maxlength: '2000', placeholder: t('What was seen, said or done'), 'aria-label': t('Note') }), two(t('Save the note'))],
    shelve: () => [choices('minutes', [['10', '10 min'], ['30', '30 min'], ['60', '1 h'], ['240', '4 h']], '30'), text('text', 'Why'), two(t('Shelve'))],
    hand_over: () => [text('text', 'To whom', true), two(t('Hand over'))],
    close: () => [choices('outcome', [['real', 'real'], ['false', 'false alarm'], ['expected', 'expected'], ['test', 'a test']]), text('text', 'In a few words'), two(t('Close the alert'))],
  });

  function shut() {
    what = null;
    node.hidden = true;
    node.replaceChildren();
    byId('drawer').querySelector('.acts .primary')?.focus?.();
  }

  node.addEventListener('submit', async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const body = Object.fromEntries(new FormData(node));
    if (body.minutes) /** @type {any} */ (body).minutes = Number(body.minutes);
    if (await act(id, what, body)) shut();
  });
  node.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape') { event.stopPropagation(); shut(); }
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) node.requestSubmit();
  });
  return {
    node,
    /** @param {'note' | 'shelve' | 'hand_over' | 'close'} next */
    open(next) {
      what = next;
      node.replaceChildren(...CONTENT[next]());
      node.hidden = false;
      node.querySelector('textarea, input')?.focus();
    },
  };
}
