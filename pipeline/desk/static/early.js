// Before anything is drawn: the theme and the language that this screen was set to, so that nothing flashes.
(() => {
  const root = document.documentElement;
  root.dataset.theme = localStorage.getItem('theme') || 'night';
  const ur = localStorage.getItem('lang') === 'ur';
  root.lang = ur ? 'ur' : 'en';
  root.dir = ur ? 'rtl' : 'ltr';
})();
