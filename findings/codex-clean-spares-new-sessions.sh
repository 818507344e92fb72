#!/usr/bin/env bash
# Version:   @openai/codex@0.171.0 (npm), `codex app-server` over standard input and output
# Behaviour: `thread/backgroundTerminals/clean` ends a shell that traps the signals it could be asked
#            with, but not what that shell has put into a session of its own (`setsid`); the list of
#            background terminals is empty all the same while that goes on.
# Seen:      the shell stands still, its setsid child ticks on; listed: 0
# Why a good guess would be wrong: an empty list after a cleaning reads as "nothing of it runs any
#            more", and a shell that is deaf to signals is the harder case, which does end.
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
const count = (name) => fs.existsSync(`${dir}/work/${name}`) ? fs.readFileSync(`${dir}/work/${name}`, 'utf8').length : 0;
const loop = (name) => `while :; do printf x >>${dir}/work/${name}; sleep 0.1; done`;
const { env, end } = await home(dir, () => shell(`setsid sh -c '${loop('child')}' >/dev/null 2>&1 & trap '' TERM HUP INT; ${loop('shell')}`));
const server = await appServer(`${dir}/node_modules/.bin/codex`, env);
const { ask, heard } = server;
const { thread } = await ask('thread/start', { cwd: `${dir}/work`, sandbox: 'danger-full-access', approvalPolicy: 'never' });
const threadId = thread.id;
const { turn } = await ask('turn/start', { threadId, input: [{ type: 'text', text: 'tick' }] });
await until('both', () => count('child') > 2 && count('shell') > 2);
await ask('turn/interrupt', { threadId, turnId: turn.id });
await until('the end of the turn', () => heard.find((m) => m.method === 'turn/completed'));
await ask('thread/backgroundTerminals/clean', { threadId });
await pause(1000);
const [child, parent] = [count('child'), count('shell')];
await pause(2000);
const seen = { shell_ticks: count('shell') - parent, child_ticks_on: count('child') > child + 5,
  listed: (await ask('thread/backgroundTerminals/list', { threadId })).data.length };
const { execSync } = await import('node:child_process');
const pids = execSync('ps -eo pid,args').toString().split('\n').filter((line) => line.includes(`${dir}/work/child`) && !line.includes('ps -eo'));
for (const line of pids) process.kill(parseInt(line), 'SIGKILL');
compare(seen, { shell_ticks: 0, child_ticks_on: true, listed: 0 });
server.end(); end();
JS
node "$dir/try.mjs"
