/** The door: what is chosen about sound is remembered on this screen. */
const box = /** @type {HTMLInputElement} */ (document.getElementById('sound'));
box.checked = localStorage.getItem('sound') !== 'off';
box.form?.addEventListener('submit', () => localStorage.setItem('sound', box.checked ? 'on' : 'off'));
