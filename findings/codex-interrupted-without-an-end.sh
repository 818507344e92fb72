#!/usr/bin/env bash
# Version:   @openai/codex@0.171.0 (npm), two `codex app-server` processes on one home
# Behaviour: a server lists a turn that another process is just running as `interrupted`. The only
#            difference from a turn that was really interrupted is that it has no time of completion.
# Seen:      owner: inProgress; other server: interrupted, completedAt null; after its end: completed
# Why a good guess would be wrong: `interrupted` is one of three final states, so a supervisor that
#            asks any server of the home would report a worker in mid-turn as stopped.
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
let release;
const gate = new Promise((done) => { release = done; });
const { env, end } = await home(dir, async () => { await gate; return text('done'); });
const codex = `${dir}/node_modules/.bin/codex`;
const owner = await appServer(codex, env);
const { thread } = await owner.ask('thread/start', { cwd: `${dir}/work`, sandbox: 'read-only', approvalPolicy: 'never' });
const threadId = thread.id;
await owner.ask('turn/start', { threadId, input: [{ type: 'text', text: 'wait' }] });
await until('the turn', () => owner.heard.find((m) => m.method === 'turn/started'));
const other = await appServer(codex, env);
const turns = async (server) => (await server.ask('thread/read', { threadId, includeTurns: true })).thread.turns;
const seen_by_other = await until('the turn in the record', async () => (await turns(other).catch(() => []))[0]);
const seen_by_owner = (await turns(owner))[0];
release();
await until('the end', () => owner.heard.find((m) => m.method === 'turn/completed'));
const ended = await until('the end in the record', async () => { const [turn] = await turns(other); return turn.completedAt && turn; });
compare({ owner: seen_by_owner.status, other: seen_by_other.status, other_end: seen_by_other.completedAt ?? null, afterwards: ended.status },
  { owner: 'inProgress', other: 'interrupted', other_end: null, afterwards: 'completed' });
owner.end(); other.end(); end();
JS
node "$dir/try.mjs"
