/** The catalogue. English is its own key; Urdu is partial and falls back to it. A native reader has still to go over it. */

/** @type {Record<string, string>} */
const UR = {
  critical: 'انتہائی سنگین', high: 'سنگین', medium: 'درمیانہ', low: 'معمولی',
  'Needs you': 'آپ کی توجہ درکار', 'In hand': 'زیرِ عمل', 'Cleared, not closed': 'ختم، بند ہونا باقی', 'Last closed': 'حال ہی میں بند',
  Acknowledge: 'وصول کیا', 'not taken': 'کسی نے نہیں لیا', you: 'آپ', Region: 'علاقہ', 'Local time': 'مقامی وقت', Sound: 'آواز', Armed: 'تیار', Off: 'بند',
  Data: 'اطلاع', '{age} old': '{age} پرانی', 'Alerts, 10 min': 'الرٹ، 10 منٹ', '{n} of {most}': '{most} میں سے {n}', 'On duty': 'ڈیوٹی پر',
  Day: 'دن', Night: 'رات', Keys: 'کلیدیں', 'Log out': 'باہر', Back: 'واپس', Map: 'نقشہ', Queue: 'فہرست',
  'Show all': 'سب دکھائیں', Follow: 'ساتھ چلیں', 'Show on map': 'نقشے پر دکھائیں', principal: 'محفوظ گاڑی', escort: 'اسکارٹ', patrol: 'گشت', logistics: 'رسد',
  'stale, with age': 'پرانی اطلاع', site: 'مقام', 'no entry or stop': 'ممنوعہ', 'no coverage': 'سگنل نہیں', accuracy: 'غیر یقینی',
  'All quiet.': 'سب خیریت ہے۔', '{n} alerts need you.': '{n} الرٹ آپ کے منتظر ہیں۔', '1 alert needs you.': 'ایک الرٹ آپ کا منتظر ہے۔',
  'First: {lead}.': 'پہلے: {lead}', 'Nothing needs you.': 'کوئی الرٹ منتظر نہیں۔', 'DATA STALE: nothing received for {age}.': 'اطلاع پرانی: {age} سے کچھ نہیں ملا۔',
  Convoy: 'قافلہ', 'gap limit': 'حد', Note: 'نوٹ', Shelve: 'مؤخر', 'Hand over': 'حوالے کریں', Close: 'بند کریں',
  'WHAT TO DO': 'کیا کرنا ہے', 'WHOM TO CALL': 'کسے بلائیں', TIMELINE: 'ترتیبِ واقعات', EVIDENCE: 'ثبوت',
};

let current = document.documentElement.lang === 'ur' ? 'ur' : 'en';
export const lang = () => current;

/** @param {string} next */
export function setLang(next) {
  localStorage.setItem('lang', next);
  location.reload();
}

/** @param {string} key the English words, with {places} @param {Record<string, any>} [values] */
export function t(key, values = {}) {
  const text = (current === 'ur' && UR[key]) || key;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

/** A name as the plan has it: language -> words. @param {any} name */
export const named = (name) => (typeof name === 'string' ? name : name?.[current] || name?.en || '');

/** A figure stays with its unit. @param {string} text */
export const whole = (text) =>
  text.replace(/(\d) (m|km|min|h|s|km\/h|kmh)\b/g, '$1\u00a0$2').replace(/\b(km|since|by) (\d)/g, '$1\u00a0$2').replace(/\b([A-Z]{1,2})-(\d)/g, '$1\u2011$2');

/** What a rule is called on a chip, behind the call sign. */
const SHORT = /** @type {Record<string, string>} */ ({
  'route.deviation': 'off road', 'route.reversed': 'turned back', 'route.late': 'late', 'checkpoint.missed': 'missed a post', 'stop.unscheduled': 'stopped',
  'speed.exceeded': 'too fast', 'area.forbidden': 'forbidden area', 'area.entered': 'entered', 'area.left': 'left', 'area.required': 'not where it must be',
  'convoy.separated': 'stretched', 'escort.missing': 'no escort', 'movement.unauthorised': 'not authorised', 'position.implausible': 'position doubtful',
  'tracker.silent': 'silent', 'sos.pressed': 'SOS', 'duress.pressed': 'SOS', 'pipeline.stalled': 'blind', 'pipeline.notifier': 'nobody is told', 'patrol.overdue': 'patrol overdue',
});

/** @param {string} rule */
export const short = (rule) => SHORT[rule] || rule.split('.').pop()?.replace(/_/g, ' ') || rule;
