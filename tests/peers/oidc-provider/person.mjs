// A person with a browser, headless: goes where they are sent, types the code, logs in and says yes to what is asked.
//
// Environment:
//   PERSON_URL    where they begin
//   PERSON_NAME   who they say they are
//   PERSON_CODE   the code that a device shows, where there is one
//
// Stdout: the last page's status and text. Follows at most 20 redirects and forms, with the cookies of one site each.

const jars = new Map();
let url = process.env.PERSON_URL;
let init = {};
for (let step = 0; step < 20; step += 1) {
  const { origin } = new URL(url);
  const jar = jars.get(origin) ?? jars.set(origin, new Map()).get(origin);
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie } });
  for (const line of answer.headers.getSetCookie()) {
    const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
    if (value === '' || /expires=thu, 01 jan 1970/i.test(line)) jar.delete(name);
    else jar.set(name, value);
  }
  const location = answer.headers.get('location');
  if (location) {
    [url, init] = [new URL(location, url).href, {}];
    continue;
  }
  const text = await answer.text();
  const form = text.match(/<form[^>]*action="([^"]*)"[^>]*>([\s\S]*?)<\/form>/);
  if (!form) {
    console.log(answer.status, text.replace(/<style[\s\S]*?<\/style>/g, ' ').replace(/<[^>]+>/g, ' ').replace(/\s+/g, ' ').trim());
    process.exit(0);
  }
  const fields = new URLSearchParams();
  for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
    const name = input.match(/name="([^"]*)"/)?.[1];
    const typed = { login: process.env.PERSON_NAME, password: 'any', user_code: process.env.PERSON_CODE };
    if (name) fields.append(name, typed[name] ?? input.match(/value="([^"]*)"/)?.[1] ?? '');
  }
  url = new URL(form[1].replaceAll('&amp;', '&'), url).href;
  init = {
    method: 'POST', body: fields.toString(), headers: { 'content-type': 'application/x-www-form-urlencoded' },
  };
}
console.log('no end after 20 steps at', url);
process.exit(1);
