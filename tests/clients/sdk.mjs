// The SDKs of OpenAI and Anthropic, which know one thing, their API key, from its usual variable.

const { default: Client } = await import(process.argv[2]);
const models = await new Client({ maxRetries: 0 }).models.list();
console.log(JSON.stringify(models.data));
