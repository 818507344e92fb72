// What the findings about Codex's app-server share: a model that answers as a script says, and a
// peer that speaks to `codex app-server` over its standard input and output. Node.js alone.
import http from 'node:http';
import fs from 'node:fs';
import { spawn } from 'node:child_process';
import readline from 'node:readline';

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export async function until(what, look) {
  for (let tries = 0; tries < 600; tries++) {
    const found = await look();
    if (found) return found;
    await pause(100);
  }
  throw new Error(`waited in vain for ${what}`);
}

// One answer of the model: a final text, or a shell command.
export const text = (words) => ({ type: 'message', id: 'm1', role: 'assistant', content: [{ type: 'output_text', text: words }] });
export const shell = (cmd) => ({ type: 'function_call', id: 'f1', call_id: `c${Math.random()}`, name: 'exec_command',
  arguments: JSON.stringify({ cmd, yield_time_ms: 30000 }) });

// Starts a model on loopback that gives `answer(request body, number)`, and a home that uses it.
export async function home(dir, answer) {
  let number = 0;
  const model = http.createServer(async (request, response) => {
    let body = '';
    for await (const part of request) body += part;
    const item = await answer(body, number++);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const usage = { input_tokens: 1, input_tokens_details: { cached_tokens: 0 }, output_tokens: 1,
      output_tokens_details: { reasoning_tokens: 0 }, total_tokens: 2 };
    for (const [type, data] of [['response.created', { response: { id: 'r' } }],
      ['response.output_item.done', { output_index: 0, item }], ['response.completed', { response: { id: 'r', usage } }]]) {
      response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`);
    }
    response.end();
  });
  await new Promise((ready) => model.listen(0, '127.0.0.1', ready));
  fs.mkdirSync(`${dir}/home`, { recursive: true });
  fs.mkdirSync(`${dir}/work`, { recursive: true });
  fs.writeFileSync(`${dir}/home/config.toml`, `model = "scripted"\nmodel_provider = "local"\n` +
    `check_for_update_on_startup = false\n` +
    `[model_providers.local]\nname = "local"\nbase_url = "http://127.0.0.1:${model.address().port}/v1"\n` +
    `wire_api = "responses"\nrequest_max_retries = 0\nstream_max_retries = 0\n`);
  const env = { PATH: process.env.PATH, HOME: `${dir}/home`, CODEX_HOME: `${dir}/home`, NO_PROXY: '127.0.0.1' };
  return { env, end: () => { model.closeAllConnections(); model.close(); } };
}

// A running `codex app-server`, initialised; `heard` collects its notifications and requests.
export async function appServer(codex, env) {
  const server = spawn(codex, ['app-server'], { env, stdio: ['pipe', 'pipe', 'ignore'] });
  const waiting = new Map(), heard = [];
  readline.createInterface({ input: server.stdout }).on('line', (line) => {
    const message = JSON.parse(line);
    if (!message.method && waiting.has(message.id)) waiting.get(message.id)(message);
    else heard.push(message);
  });
  let next = 1;
  // The whole answer: `result` or `error`.
  const answerTo = (method, params) => new Promise((done) => {
    waiting.set(next, done);
    server.stdin.write(JSON.stringify({ id: next++, method, params }) + '\n');
  });
  const ask = async (method, params) => {
    const answer = await answerTo(method, params);
    if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
    return answer.result;
  };
  await ask('initialize', { clientInfo: { name: 'finding', version: '1' }, capabilities: { experimentalApi: true } });
  return { ask, answerTo, heard, end: () => server.kill() };
}

// Prints what was seen; another outcome than the recorded one fails the script.
export function compare(seen, recorded) {
  console.log(JSON.stringify(seen));
  if (JSON.stringify(seen) !== JSON.stringify(recorded)) {
    console.log(`recorded was ${JSON.stringify(recorded)}`);
    process.exitCode = 1;
  }
}
