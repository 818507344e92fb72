#!/usr/bin/env bash
# Version:   @openai/codex@0.171.0 (npm), `codex app-server` over standard input and output
# Behaviour: `turn/interrupt` ends a turn at once and the turn is reported as interrupted, but a
#            shell command that the agent had started in it goes on: `thread/backgroundTerminals/list`
#            has it, and only `thread/backgroundTerminals/clean` (or the server's end) ends it.
# Seen:      interrupted; the command ticked on; listed: 1; after clean no tick more; listed: 0
# Why a good guess would be wrong: an interrupt reads as "stop what you are doing", and the thread
#            says idle; whoever edits the files next believes to be alone with them.
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
const ticks = `${dir}/work/ticks`;
const count = () => fs.existsSync(ticks) ? fs.readFileSync(ticks, 'utf8').split('\n').length - 1 : 0;
const { env, end } = await home(dir, () => shell(`while :; do echo tick >>${ticks}; sleep 0.1; done`));
const server = await appServer(`${dir}/node_modules/.bin/codex`, env);
const { ask, heard } = server;
const { thread } = await ask('thread/start', { cwd: `${dir}/work`, sandbox: 'danger-full-access', approvalPolicy: 'never' });
const threadId = thread.id;
const { turn } = await ask('turn/start', { threadId, input: [{ type: 'text', text: 'tick' }] });
await until('the command', () => count() > 2);
await ask('turn/interrupt', { threadId, turnId: turn.id });
const done = await until('the end of the turn', () => heard.find((m) => m.method === 'turn/completed'));
const before = count();
await pause(2000);
const ticked_on = count() > before + 5;
const listed = (await ask('thread/backgroundTerminals/list', { threadId })).data.length;
await ask('thread/backgroundTerminals/clean', { threadId });
await pause(500);
const cleaned = count();
await pause(2000);
const ticks_after_clean = count() - cleaned;
const left = (await ask('thread/backgroundTerminals/list', { threadId })).data.length;
compare({ status: done.params.turn.status, ticked_on, listed, ticks_after_clean, left },
  { status: 'interrupted', ticked_on: true, listed: 1, ticks_after_clean: 0, left: 0 });
server.end(); end();
JS
node "$dir/try.mjs"
