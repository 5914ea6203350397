/** What a person does: sent at once, once, and said plainly when it could not be recorded. */
import { store, tell } from './store.js';

/** The same act pressed twice is one act: its key stays until it has been answered. @type {Map<string, string>} */
const keys = new Map();

/**
 * @param {string} alert
 * @param {'acknowledge' | 'unacknowledge' | 'note' | 'shelve' | 'unshelve' | 'hand_over' | 'close'} what
 * @param {Record<string, any>} [body]
 * @returns {Promise<boolean>} whether it is recorded
 */
export async function act(alert, what, body) {
  if (!store.session?.acts) return fail(alert, what, 'You may look, not act.');
  if (store.pending.get(alert)?.what === what && !store.pending.get(alert)?.fault) return false;
  const name = `${alert} ${what} ${JSON.stringify(body || {})}`;
  const key = keys.get(name) || crypto.getRandomValues(new Uint32Array(4)).join('-');
  keys.set(name, key);
  store.pending.set(alert, { what, fault: '' });
  tell('pending');
  const before = store.alerts.get(alert)?.seq;
  try {
    const answer = await fetch(`/api/alerts/${encodeURIComponent(alert)}/${what}`, {
      method: 'POST',
      headers: { 'X-CSRF-Token': store.session.csrf, 'Idempotency-Key': key, ...(body && { 'Content-Type': 'application/json' }) },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(15000),
    });
    if (!answer.ok) {
      if (answer.status === 401) location.assign('/login');
      const said = await answer.json().catch(() => ({}));
      return fail(alert, what, typeof said.detail === 'string' ? said.detail : `refused (${answer.status})`);
    }
  } catch {
    return fail(alert, what, 'Not sent: the server cannot be reached. Press again.');
  }
  keys.delete(name);
  // recorded; the alert's own event says what became of it, and may be here already
  if (store.alerts.get(alert)?.seq !== before) store.pending.delete(alert);
  tell('pending');
  return true;
}

/** @param {string} alert @param {string} what @param {string} fault */
function fail(alert, what, fault) {
  store.pending.set(alert, { what, fault });
  tell('pending');
  return false;
}

export async function logOut() {
  await fetch('/logout', { method: 'POST', headers: { 'X-CSRF-Token': store.session.csrf } });
  location.assign('/login');
}
