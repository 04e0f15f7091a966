// A tool that knows one thing, its API key: axios.

const { default: axios } = await import(process.argv[2]);
const key = process.env.ORDERS_API_KEY;
const answer = await axios.get(process.argv[3], { headers: { authorization: `Bearer ${key}` } });
console.log(answer.status, answer.data);
