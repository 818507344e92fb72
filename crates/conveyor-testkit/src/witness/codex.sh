#!/usr/bin/env bash
# A program that looks like an idle Codex and records whatever reaches it: bytes and signals.
export LC_ALL=C
dir=$1

for signal in HUP INT QUIT TERM TSTP USR1; do
  # shellcheck disable=SC2064
  trap "echo $signal >>'$dir/signals'" "$signal"
done

stty raw -echo
printf '\033[?2004h\033[2J\033[H>_ OpenAI Codex (v0.169.0)\r\n\r\nthis is the witness\r\n\r\n'
printf '\033[1m\342\200\272\033[0m \0337\033[2mAsk Codex to do anything\033[0m\r\n\r\n'
printf '  mock default \302\267 %s\r\n  ? for shortcuts\r\n\0338' "$dir"
printf '%s %s\n' "$$" "$TMUX_PANE" >"$dir/ready.part"
mv "$dir/ready.part" "$dir/ready"

while IFS= read -r -d '' -n 1 byte || [ $? -gt 128 ]; do
  [ -z "${byte+x}" ] || printf '%q\n' "$byte" >>"$dir/bytes"
done
# Its terminal is gone.
echo end >>"$dir/signals"
