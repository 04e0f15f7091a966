// A tool that knows one thing, its API key: the global `fetch` of Node 24.

const key = process.env.ORDERS_API_KEY;
const answer = await fetch(process.argv[2], { headers: { authorization: `Bearer ${key}` } });
console.log(answer.status, await answer.text());
