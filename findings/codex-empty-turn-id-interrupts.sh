#!/usr/bin/env bash
# Version:   @openai/codex@0.171.0 (npm), `codex app-server` over standard input and output
# Behaviour: `turn/interrupt` with a turn id that is not the running one is refused, but with an
#            empty turn id it is taken, and whatever turn runs is interrupted.
# Seen:      another id: error, the turn goes on; empty id: result, the turn is interrupted
# Why a good guess would be wrong: the parameter is required and exists to name what is meant, so
#            an empty one looks like any other wrong one: a client that lost its id would expect a
#            refusal and interrupts work that it never knew.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
npm install --prefix "$dir" --no-audit --no-fund --loglevel=error @openai/codex@0.171.0 >/dev/null
cp "$here/codex-peer.mjs" "$dir/"
cat >"$dir/try.mjs" <<'JS'
import { appServer, compare, home, pause, shell, text, until } from './codex-peer.mjs';
import fs from 'node:fs';
const dir = import.meta.dirname;
const { env, end } = await home(dir, () => shell('sleep 60'));
const server = await appServer(`${dir}/node_modules/.bin/codex`, env);
const { ask, answerTo, heard } = server;
const { thread } = await ask('thread/start', { cwd: `${dir}/work`, sandbox: 'danger-full-access', approvalPolicy: 'never' });
const threadId = thread.id;
await ask('turn/start', { threadId, input: [{ type: 'text', text: 'wait' }] });
await until('the command', () => heard.find((m) => m.method === 'item/started' && m.params.item.type === 'commandExecution'));
const other = await answerTo('turn/interrupt', { threadId, turnId: '00000000-0000-7000-8000-000000000000' });
await pause(1000);
const still_running = !heard.some((m) => m.method === 'turn/completed');
const empty = await answerTo('turn/interrupt', { threadId, turnId: '' });
const done = await until('the end of the turn', () => heard.find((m) => m.method === 'turn/completed'));
compare({ another_id: other.error ? 'error' : 'result', still_running, empty_id: empty.error ? 'error' : 'result', status: done.params.turn.status },
  { another_id: 'error', still_running: true, empty_id: 'result', status: 'interrupted' });
server.end(); end();
JS
node "$dir/try.mjs"
